"""Write an artifact as a Core ML package whose weights stay palettized."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pwfn.artifact.exports.exported import ExportError, compared, images_of, metadata, same_bits
from pwfn.artifact.per_tensor_limit import most_values

LARGEST_TABLE = 256  # entries of a look-up table of Core ML


def to_coreml(model: nn.Module, path: Path, description: dict[str, Any]) -> str:
    """Write a Core ML package (iOS 17, float32) with palettized weights, and check each look-up table.

    BatchNorm is not folded into the convolutions, which would take their weights off the codebook. A package can be run
    on macOS only; there its logits are compared too.

    Args:
        model: the network, on the CPU and in evaluation mode.
        path: the folder to write, with the ending .mlpackage.
        description: of the artifact, as `pwfn.describe` returns it.

    Returns:
        A clause on what was written and how it was checked.

    Raises:
        ExportError: a tensor has more than 256 values, or a table or the logits are not the model's.
    """
    name, values = most_values(model, [one["names"][0] for one in description["coded"]])
    if values > LARGEST_TABLE:
        raise ExportError(f"{name} has {values:,} values, a table at most {LARGEST_TABLE}: add --per-tensor-max 256")
    images = images_of(description)
    package = _palettized(model, images)
    package.user_defined_metadata.update(metadata(description))
    package.save(str(path))
    tables = palettized_weights(path)
    state = {key.replace(".", "_"): value for key, value in model.state_dict().items()}
    wrong = [name for name, value in tables.items() if not same_bits(state[name], value)]
    if wrong or not tables:
        raise ExportError(f"{len(wrong)} of {len(tables)} look-up tables do not give the model's weights")
    share = sum(value.numel() for value in tables.values()) / sum(p.numel() for p in model.parameters())
    result = f"{len(tables)} tensors ({100 * share:.1f} % of the parameters) palettized, each bit for bit the model's"
    if sys.platform == "darwin":
        (found,) = package.predict({package.get_spec().description.input[0].name: images.numpy()}).values()
        return f"{result}; {compared(model, images, torch.from_numpy(found))}"
    return f"{result}; not run: that takes macOS"


def _palettized(model: nn.Module, images: Tensor) -> Any:
    """Convert a model without rounding, then give each tensor a look-up table of all its values."""
    import coremltools as ct
    import coremltools.optimize.coreml as cto

    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes({"common::fuse_conv_batchnorm"})
    package = ct.convert(
        torch.export.export(model, (images,)).run_decompositions({}),
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=passes,
    )
    unique = cto.OptimizationConfig(global_config=cto.OpPalettizerConfig(mode="unique", weight_threshold=0))
    return cto.palettize_weights(package, unique)


def palettized_weights(path: Path) -> dict[str, Tensor]:
    """Read a Core ML package's tensors of look-up table and indices, by name with `_` for `.`."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto import load as milproto
    from coremltools.converters.mil.mil.ops.defs.iOS16 import constexpr_lut_to_dense

    package = ct.models.MLModel(str(path), skip_model_load=True)
    spec = package.get_spec()
    found = {}
    for function in milproto.load(spec, spec.specificationVersion, package.weights_dir).functions.values():
        for op in function.operations:
            if op.op_type == "constexpr_lut_to_dense":
                dense = constexpr_lut_to_dense.decompress(op.lut.val, op.indices.val, op.shape.val)
                name = op.outputs[0].name.removesuffix("_palettized").removeprefix("p_").removeprefix("b_")
                found[name] = torch.from_numpy(dense.copy())
    return found
