"""Run ONNX models with ONNX Runtime, on the machine and in the browser's build."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.runtime_cases.measuring import Row, Run, compared, elsewhere, megabytes
from pwfn.export import export

ONNX_BATCHES = (1, 3, 8, 32)


def onnx_file(path: Path, folder: Path, packed: bool) -> Path:
    """Write the ONNX model, as `pwfn export` does."""
    file = folder / "model.onnx"
    export(path, "onnx", file, packed=packed)
    return file


def onnx_session(path: Path, folder: Path, *disabled: str, packed: bool = True) -> Row:
    """Run an ONNX model on one thread."""
    import onnxruntime as runtime

    file = elsewhere(onnx_file, path, folder, packed)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1

    def start() -> Run:
        how = {"providers": ["CPUExecutionProvider"], "disabled_optimizers": list(disabled)}
        session = runtime.InferenceSession(file, options, **how)
        return lambda images: session.run(None, {"images": images.numpy()})[0]

    return {"file MB": megabytes(file), **compared(path, start, ONNX_BATCHES)}


def onnxruntime(path: Path, folder: Path) -> Row:
    """Let the session turn the indices into float weights when it starts, as it does by default."""
    return onnx_session(path, folder)


def onnxruntime_indices(path: Path, folder: Path) -> Row:
    """Keep the indices in memory."""
    return onnx_session(path, folder, "ConstantFolding")


def onnxruntime_dense(path: Path, folder: Path) -> Row:
    """Run the ONNX model of float weights, for comparison."""
    return onnx_session(path, folder, packed=False)


def onnxruntime_web(path: Path, folder: Path) -> Row:
    """Make the page of docs/browser, and run its model in Node."""
    from scripts import browser_page

    browser_page.make(path, folder)
    browser_page.install(folder)
    out = subprocess.run(["node", "node.mjs"], cwd=folder, capture_output=True, text=True, check=True)
    wanted = [sample["logits"] for sample in json.loads((folder / "samples.json").read_text())]
    farthest = float(np.abs(np.array(json.loads(out.stdout)) - np.array(wanted)).max())
    return {"file MB": megabytes(folder / "model.onnx"), "images": len(wanted), "logits within": farthest}
