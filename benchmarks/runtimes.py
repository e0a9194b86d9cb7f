"""Make the rows of docs/runtimes.md: `python benchmarks/runtimes.py model.pwfn [--runtime openvino]`.

Each runtime gets a process of its own and the packed network (`pwfn.load(path, packed=True)` or its packed ONNX model),
and is compared with torch and float32 weights. A runtime whose package is missing says how to install it; one that
fails says why. `--runtime` may be given several times; without it, all are tried.

The memory is what the process holds more (VmRSS) than before the model was loaded. Files are made in another process,
and torch's logits computed after, so that the model finds no memory that was taken and freed before. For indices of 4
bits, give it the artifact that `pwfn export model.pwfn --to pwfn --per-tensor-max 16 --out model16.pwfn` writes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

from benchmarks.runtime_cases.coreai_assets import coreai
from benchmarks.runtime_cases.executorch_programs import executorch, executorch_xnnpack
from benchmarks.runtime_cases.measuring import Row
from benchmarks.runtime_cases.nnc_bitstream import nnc
from benchmarks.runtime_cases.onnx_models import onnxruntime, onnxruntime_dense, onnxruntime_indices, onnxruntime_web
from benchmarks.runtime_cases.openvino_ir import openvino, openvino_dense
from benchmarks.runtime_cases.torchao_tensors import torchao


@dataclass(frozen=True)
class Runtime:
    """Describe a runtime: what measures it, the module it is recognized by, and what pip is told."""

    task: Callable[[Path, Path], Row]
    module: str
    packages: str


OF_ONNX = "onnxruntime==1.32.0 onnx==1.23.2 onnxscript==0.7.2"
RUNTIMES = {
    "onnxruntime": Runtime(onnxruntime, "onnxruntime", OF_ONNX),
    "onnxruntime-indices": Runtime(onnxruntime_indices, "onnxruntime", OF_ONNX),
    "onnxruntime-dense": Runtime(onnxruntime_dense, "onnxruntime", OF_ONNX),
    "onnxruntime-web": Runtime(onnxruntime_web, "onnxruntime", OF_ONNX),  # npm brings the rest
    "openvino": Runtime(openvino, "openvino", "openvino==2026.4.1"),
    "openvino-dense": Runtime(openvino_dense, "openvino", "openvino==2026.4.1"),
    "executorch": Runtime(executorch, "executorch", "executorch==1.5.1"),
    "executorch-xnnpack": Runtime(executorch_xnnpack, "executorch", "executorch==1.5.1"),
    "torchao": Runtime(torchao, "torchao", "torchao==0.18.0"),
    "coreai": Runtime(coreai, "coreai_torch", "coreai-torch==0.4.3"),
    # it asks for numpy<2, and runs with 2.4
    "nnc": Runtime(nnc, "nncodec", "--no-deps nncodec==2.1.3 h5py opencv-python-headless ptflops pybind11 click"),
}


def measure(name: str, path: Path) -> Row:
    """Measure one runtime in this process."""
    runtime = RUNTIMES[name]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        row = runtime.task(path, Path(folder))
    wanted = [word.partition("==")[0] for word in runtime.packages.split() if "==" in word]
    return {"versions": " ".join(f"{one} {importlib.metadata.version(one)}" for one in wanted), **row}


def measured(name: str, path: Path, timeout: float) -> Row:
    """Measure one runtime in a process of its own, or say why there is no row."""
    runtime = RUNTIMES[name]
    if find_spec(runtime.module) is None:
        return {"missing": f"pip install {runtime.packages}"}
    command = [sys.executable, __file__, str(path.resolve()), "--here", "--runtime", name]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            out, error = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return {"failed": f"had not ended after {timeout:g} s"}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the process that makes its files
    lines = [line for line in out.splitlines() if line.startswith("{")]
    reason = (error.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
    row: Row = json.loads(lines[-1]) if lines else {"failed": reason}
    return row


def shown(value: Any) -> str:
    """Write a value of a row."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--runtime", action="append", choices=RUNTIMES, help="only this one; may be repeated")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for each")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one runtime, in this process
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.runtime[0], given.model)))
        return
    for name in given.runtime or RUNTIMES:
        row = measured(name, given.model, given.timeout)
        print(f"{name}: " + ", ".join(f"{key} {shown(value)}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
