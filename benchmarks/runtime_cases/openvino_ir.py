"""Run ONNX models with OpenVINO."""

from __future__ import annotations

from pathlib import Path

from benchmarks.runtime_cases.measuring import Row, Run, compared, elsewhere, megabytes
from benchmarks.runtime_cases.onnx_models import ONNX_BATCHES, onnx_file


def openvino(path: Path, folder: Path) -> Row:
    """Read the packed ONNX model, save it as IR, compile that for the CPU and run it."""
    return openvino_model(path, folder, packed=True)


def openvino_dense(path: Path, folder: Path) -> Row:
    """Do the same with the ONNX model of float weights, for comparison."""
    return openvino_model(path, folder, packed=False)


def openvino_model(path: Path, folder: Path, packed: bool) -> Row:
    """Run an ONNX model as IR on one thread of the CPU."""
    import openvino as vino

    elsewhere(save_ir, path, folder, packed)
    core = vino.Core()
    # with its default, it computes in bfloat16 where the processor can
    how = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}

    def start() -> Run:
        compiled = core.compile_model(folder / "model.xml", "CPU", how)
        return lambda images: compiled([images.numpy()])[0]

    return {"file MB": megabytes(folder / "model.bin"), **compared(path, start, ONNX_BATCHES)}


def save_ir(path: Path, folder: Path, packed: bool) -> None:
    """Write the IR of an ONNX model, its float weights as float32."""
    import openvino as vino

    model = vino.Core().read_model(onnx_file(path, folder, packed))
    vino.save_model(model, folder / "model.xml", compress_to_fp16=False)
