"""Write an artifact as an ONNX model, with float weights or with indices into its codebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pwfn.artifact.exports.exported import ExportError, compared, images_of, metadata
from pwfn.artifact.exports.onnx_packed import OPSET, pack
from pwfn.artifact.header import Codebook


def to_onnx(model: nn.Module, path: Path, description: dict[str, Any]) -> str:
    """Write an ONNX model of any batch size with the input `images` and the output `logits`; run it once.

    Args:
        model: the network, on the CPU and in evaluation mode.
        path: the file to write, weights included.
        description: of the artifact, as `pwfn.describe` returns it.

    Returns:
        A clause on what was written and how it was checked.

    Raises:
        ExportError: the logits of ONNX Runtime are not the model's.
    """
    import onnxruntime

    images = images_of(description)
    _onnx_program(model, images, description).save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(["logits"], {"images": images.numpy()})[0]
    return f"run by ONNX Runtime: {compared(model, images, torch.from_numpy(found))}"


def to_packed_onnx(model: nn.Module, path: Path, description: dict[str, Any]) -> str:
    """Write an ONNX model whose weights stay indices into one codebook, and run it at several batch sizes.

    ONNX Runtime turns the indices into float weights when a session starts, unless it is given
    `disabled_optimizers=["ConstantFolding"]`. BatchNorm is not folded: that would take the weights off the codebook.

    Args:
        model: the network, on the CPU and in evaluation mode.
        path: the file to write, weights included.
        description: of the artifact, as `pwfn.describe` returns it.

    Returns:
        A clause on what was written and how it was checked.

    Raises:
        ExportError: no tensor can be packed, or the logits of ONNX Runtime are not the model's.
    """
    import onnx
    import onnxruntime

    program = _onnx_program(model, images_of(description), description, optimize=False, opset_version=OPSET)
    graph = program.model_proto
    packed = pack(graph, Codebook.model_validate_json(json.dumps(description["codebook"])).values())
    if not packed.tensors:
        raise ExportError("no tensor of weights takes its values from the codebook alone: there is nothing to pack")
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)
    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
    )
    for batch in (1, 3, 8):
        images = images_of(description, batch)
        outcome = compared(model, images, torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0]))
    share = packed.weights / sum(p.numel() for p in model.parameters())
    return (
        f"{packed.tensors} tensors ({100 * share:.1f} % of the parameters) as indices of up to {packed.bits} bits, "
        f"opset {OPSET}; run by ONNX Runtime at batch 1, 3 and 8: {outcome}"
    )


def _onnx_program(
    model: nn.Module, images: Tensor, description: dict[str, Any], **options: Any
) -> torch.onnx.ONNXProgram:
    program = torch.onnx.export(
        model,
        (images,),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
        **options,
    )
    assert program is not None
    program.model.metadata_props.update(metadata(description))
    return program
