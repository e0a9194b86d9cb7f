"""An artifact in the forms that other tools read: `python -m pwfn.export model.pwfn --to onnx`.

`safetensors` is a state dict for timm and torch, `onnx` runs in ONNX Runtime (extra `onnx`), `coreml` is a Core ML package
whose weights stay palettized: a look-up table and indices for each tensor (extra `coreml`). Every file is read again and
compared with the model before it is called done.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pwfn.artifact import ArtifactError, describe, load
from pwfn.errors import one_line

RTOL, ATOL = 1e-3, 1e-4  # of logits, for another engine's float32 arithmetic


class ExportError(RuntimeError):
    """A form that cannot be made here, or that is not the model; the message is one line."""


def to_safetensors(model: nn.Module, path: Path, said: dict[str, Any]) -> str:
    """Write the plain state dict; tied tensors are written under each of their names, as `load_state_dict` wants them."""
    from safetensors.torch import load_file, save_file

    state = {key: value.detach().contiguous().clone() for key, value in model.state_dict().items()}
    save_file(state, path, metadata={"format": "pt", **_metadata(said)})
    again = load_file(path)
    wrong = [key for key in state if not _same_bits(state[key], again[key])]
    if wrong or again.keys() != state.keys():
        raise ExportError(f"{len(wrong)} of {len(state)} tensors came back changed")
    return f"{len(state)} tensors, read again without a bit of difference"


def to_onnx(model: nn.Module, path: Path, said: dict[str, Any]) -> str:
    """Write an ONNX model of any batch size with the input `images` and the output `logits`; run it once."""
    import onnxruntime

    images = _images(said)
    program = torch.onnx.export(
        model,
        (images,),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(_metadata(said))
    program.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(["logits"], {"images": images.numpy()})[0]
    return f"run by ONNX Runtime: {_compared(model, images, torch.from_numpy(found))}"


def to_coreml(model: nn.Module, path: Path, said: dict[str, Any]) -> str:
    """Write a Core ML package (iOS 17, float32) with palettized weights and hold every look-up table against the model.

    BatchNorm is not folded into the convolutions, which would take their weights off the codebook. A package can be run
    on macOS only; there its logits are compared too.
    """
    import coremltools as ct
    import coremltools.optimize.coreml as cto

    images = _images(said)
    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes({"common::fuse_conv_batchnorm"})
    package = ct.convert(
        torch.export.export(model, (images,)).run_decompositions({}),
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=passes,
    )
    rule = cto.OpPalettizerConfig(mode="unique", weight_threshold=0)
    package = cto.palettize_weights(package, cto.OptimizationConfig(global_config=rule))
    package.user_defined_metadata.update(_metadata(said))
    package.save(str(path))
    tables = palettized_weights(path)
    state = {key.replace(".", "_"): value for key, value in model.state_dict().items()}
    wrong = [name for name, value in tables.items() if not _same_bits(state[name], value)]
    if wrong or not tables:
        raise ExportError(f"{len(wrong)} of {len(tables)} look-up tables do not give the model's weights")
    share = sum(value.numel() for value in tables.values()) / sum(p.numel() for p in model.parameters())
    result = f"{len(tables)} tensors ({100 * share:.1f} % of the parameters) palettized, each bit for bit the model's"
    if sys.platform == "darwin":
        (found,) = package.predict({package.get_spec().description.input[0].name: images.numpy()}).values()
        return f"{result}; {_compared(model, images, torch.from_numpy(found))}"
    return f"{result}; not run: that takes macOS"


def palettized_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a Core ML package that are stored as look-up table and indices, by name with `_` for `.`."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto import load as milproto
    from coremltools.converters.mil.mil.ops.defs.iOS16 import constexpr_lut_to_dense

    package = ct.models.MLModel(str(path), skip_model_load=True)
    spec = package.get_spec()
    program = milproto.load(spec, spec.specificationVersion, package.weights_dir)
    found = {}
    for function in program.functions.values():
        for op in function.operations:
            if op.op_type == "constexpr_lut_to_dense":
                dense = constexpr_lut_to_dense.decompress(op.lut.val, op.indices.val, op.shape.val)
                name = op.outputs[0].name.removesuffix("_palettized").removeprefix("p_").removeprefix("b_")
                found[name] = torch.from_numpy(dense.copy())
    return found


FORMS: dict[str, tuple[Callable[[nn.Module, Path, dict[str, Any]], str], str, tuple[str, ...]]] = {
    "safetensors": (to_safetensors, ".safetensors", ()),
    "onnx": (to_onnx, ".onnx", ("onnx", "onnxscript", "onnxruntime")),
    "coreml": (to_coreml, ".mlpackage", ("coremltools",)),
}


def export(artifact: Path, form: str, path: Path | None = None) -> str:
    """Write `artifact` in another form and say what became of it; raises ArtifactError and ExportError.

    `path` is by default the artifact's with the form's own ending; what is there is replaced once all is well.
    """
    write, suffix, packages = FORMS[form]
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ExportError(f"{form} needs {', '.join(missing)}: pip install 'pwfn[{form}]'")
    said = describe(artifact)
    if said["model"] is None or said["data"] is None:
        raise ExportError(f"{artifact} does not say how to build its model, or for which images")
    path = path or artifact.with_suffix(suffix)
    if path.suffix != suffix:
        raise ExportError(f"{path}: the name of this form ends with {suffix}")
    if not path.parent.is_dir():
        raise ExportError(f"{path}: there is no folder {path.parent}")
    model = load(artifact)
    unfinished = path.with_name(f".unfinished.{path.name}")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of converters about themselves
            outcome = write(model, unfinished, said)
        _replace(unfinished, path)
    except (ExportError, OSError):
        raise
    except Exception as error:  # a converter may raise anything for a model that it does not know
        raise ExportError(f"{form} does not take this model: {type(error).__name__}: {one_line(error)}") from error
    finally:
        _remove(unfinished)
    return f"{path}: {_size(path) / 1e6:.3f} MB; {outcome}"


def _metadata(said: dict[str, Any]) -> dict[str, str]:
    """What a user of the file needs to know about it, as text."""
    recipe = said["model"]
    facts = {
        "architecture": recipe["name"],
        "num_classes": recipe["num_classes"],
        "in_chans": recipe["in_chans"],
        "args": recipe["args"],
        "data": said["data"],
        "class_names": said["class_names"],
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


def _images(said: dict[str, Any]) -> Tensor:
    """Two random images of the size that the model is used with."""
    return torch.randn(2, *said["data"]["input_size"], generator=torch.Generator().manual_seed(0))


def _compared(model: nn.Module, images: Tensor, found: Tensor) -> str:
    wanted = model(images)
    largest = float((found - wanted).abs().max())
    if not torch.allclose(found, wanted, rtol=RTOL, atol=ATOL):
        raise ExportError(f"the logits differ by up to {largest:.3g} from the model's")
    return f"logits within {largest:.1e} of the model's"


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()


def _replace(unfinished: Path, path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(unfinished, path)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if the file was written, 2 if not, with one line on why."""
    parser = argparse.ArgumentParser(prog="python -m pwfn.export", description="A model.pwfn for other tools.")
    parser.add_argument("artifact", type=Path, help="the file model.pwfn")
    parser.add_argument("--to", choices=FORMS, required=True, help="the form")
    parser.add_argument("--out", type=Path, help="the file to write; default: the artifact's name with another ending")
    given = parser.parse_args(arguments)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        print(export(given.artifact, given.to, given.out))
    except (ArtifactError, ExportError, OSError) as error:
        print(f"pwfn: {one_line(error, 400)}", file=sys.stderr)
        return 2
    finally:
        logging.disable(before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
