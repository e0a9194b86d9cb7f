"""Make the rows of docs/runtimes.md anew: `python benchmarks/runtimes.py model.pwfn [--runtime openvino]`.

Each runtime gets a process of its own and the packed network (`pwfn.load(path, packed=True)` or its packed ONNX model),
and is compared with torch and float32 weights. A runtime whose package is missing says how to install it; one that
fails says why. `--runtime` may be given several times; without it, all are tried.

The memory is what the process holds more (VmRSS) than before the model was loaded. Files are made in another process,
and torch's logits computed after, so that the model finds no memory that was taken and freed before. For indices of 4
bits, give it the artifact that `pwfn export model.pwfn --to pwfn --per-tensor-max 16 --out model16.pwfn` writes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.metadata
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import pwfn
from pwfn.artifact.packed import packed_lookups
from pwfn.export import export

T = TypeVar("T")
Row = dict[str, Any]
Run = Callable[[Tensor], Any]
TIMES = 5
ONNX_BATCHES = (1, 3, 8, 32)


def packed_network(path: Path) -> nn.Module:
    """Return the network whose layers look their weights up."""
    return pwfn.load(path, packed=True)


def images_of(path: Path, batch: int = 1) -> Tensor:
    """Return random images of the model's size."""
    size = pwfn.describe(path)["data"]["input_size"]
    return torch.randn(batch, *size, generator=torch.Generator().manual_seed(batch))


def megabytes(path: Path) -> float:
    """Return the size of a file, or of all files of a folder."""
    return sum(one.stat().st_size for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file()) / 1e6


def resident() -> float:
    """Return the megabytes that this process holds."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:"))


def elsewhere(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a process of its own, which takes its memory with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def compared(path: Path, start: Callable[[], Run], batches: tuple[int, ...] = (1,)) -> Row:
    """Start a model and run it: memory, time at the first and the last batch, distance of its logits from torch's."""
    cases = [images_of(path, batch) for batch in batches]
    before = resident()
    run = start()
    row: Row = {"MB, loaded": resident() - before}
    found = []
    for batch, images in zip(batches, cases, strict=True):
        found.append(torch.as_tensor(np.asarray(run(images))))
        if batch in (batches[0], batches[-1]):
            row[f"MB, after batch {batch}"] = resident() - before
            row[f"ms an image, batch {batch}"] = min(1000 * seconds(run, images) for _ in range(TIMES)) / batch
    dense = pwfn.load(path)
    with torch.no_grad():
        distances = [float((one - dense(images)).abs().max()) for one, images in zip(found, cases, strict=True)]
    return {**row, "logits within": max(distances)}


def seconds(run: Run, images: Tensor) -> float:
    """Return how long one run takes."""
    began = time.perf_counter()
    run(images)
    return time.perf_counter() - began


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


def executorch_program(path: Path, folder: Path, xnnpack: bool) -> Row:
    """Lower the exported packed network, and run the program."""
    from executorch.runtime import Runtime as Executor

    file = folder / "model.pte"
    taken = elsewhere(lower, path, file, xnnpack)

    def start() -> Run:
        method = Executor.get().load_program(file).load_method("forward")
        return lambda images: method.execute([images])[0]

    return {"file MB": megabytes(file), "s to lower": taken, **compared(path, start)}


def lower(path: Path, file: Path, xnnpack: bool) -> float:
    """Write the program of the packed network, and return the seconds that it took."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    began = time.perf_counter()
    exported = torch.export.export(packed_network(path), (images_of(path),))
    partitioners = [XnnpackPartitioner()] if xnnpack else []
    program = to_edge_transform_and_lower(exported, partitioner=partitioners).to_executorch()
    file.write_bytes(program.buffer)
    return time.perf_counter() - began


def executorch(path: Path, folder: Path) -> Row:
    """Use the portable kernels."""
    return executorch_program(path, folder, xnnpack=False)


def executorch_xnnpack(path: Path, folder: Path) -> Row:
    """Hand to XNNPACK whatever it takes."""
    return executorch_program(path, folder, xnnpack=True)


def torchao(path: Path, folder: Path) -> Row:
    """Fill a CodebookQuantizedTensor with the indices of each linear layer of 8-bit indices."""
    from torchao.prototype.quantization.codebook.codebook_quantized_tensor import CodebookQuantizedTensor

    del folder
    model, layers, wrong = pwfn.load(path), 0, 0
    for name, layer in packed_network(path).named_modules():
        if not isinstance(layer, nn.Linear) or not parametrize.is_parametrized(layer, "weight"):
            continue
        lookup: Any = layer.parametrizations["weight"][0]
        if lookup.bits != 8:
            continue
        table = lookup.table.values[lookup.own.long()].reshape(-1, 1, 1)
        codes, shape = lookup.codes.reshape(lookup.shape).clone(), torch.Size(lookup.shape)
        tensor = CodebookQuantizedTensor(codes, table, (1, 1), torch.ones(1, 1, 1), shape, dtype=torch.float32)
        linear = model.get_submodule(name)
        wrong += not torch.equal(tensor.dequantize(), linear.weight)
        linear.weight = nn.Parameter(tensor, requires_grad=False)
        layers += 1
    if not layers:
        raise ValueError("the network has no linear layer of 8-bit indices")

    def start() -> Run:
        return lambda images: model(images).detach()

    return {"linear layers": layers, "of them with wrong weights": wrong, **compared(path, start, (1, 4))}


def coreai(path: Path, folder: Path) -> Row:
    """Convert the exported packed network, look the indices up in the file, and try to run it."""
    from coreai.runtime import AIModel, NDArray
    from coreai_torch import TorchConverter, get_decomp_table

    packed, images = packed_network(path), images_of(path)
    exported = torch.export.export(packed, (images,)).run_decompositions(get_decomp_table())
    asset = folder / "model.aimodel"
    TorchConverter().add_exported_program(exported).to_coreai().save_asset(asset)
    content = (asset / "main.mlirb").read_bytes()
    lookups = list(packed_lookups(packed))
    small = sum(one.codes.numpy().tobytes() in content for one in lookups)
    wide = sum(one.codes.int().numpy().tobytes() in content for one in lookups)  # casts of small tensors are folded
    found = f"{small} as they are, {wide} as int32, of {len(lookups)}"
    row: Row = {"file MB": megabytes(asset), "tensors whose indices are in the file": found}

    async def run() -> Any:
        model = await AIModel.load(asset)
        function = model.load_function(model.function_names[0])
        return await function({function.desc.input_names[0]: NDArray(images.numpy())})

    try:
        (logits,) = asyncio.run(run()).values()
        with torch.no_grad():
            row["logits within"] = float(np.abs(logits.numpy() - pwfn.load(path)(images).numpy()).max())
    except RuntimeError as error:  # on Linux the package converts only
        row["not run"] = str(error)
    return row


def nnc(path: Path, folder: Path) -> Row:
    """Code the quantized tensors as an NNC bitstream in codebook mode, decode it, and compare every bit.

    The codec has one step for a tensor, 2^(qp/4) where 4 divides qp: sums of powers of two are whole multiples of it.
    """
    from nncodec.nnc import compress, decompress

    names = [one["names"][0] for one in pwfn.describe(path)["coded"]]
    state = pwfn.load(path).state_dict()
    weights = {name: state[name].numpy() for name in names}
    values = np.unique(np.concatenate([one.reshape(-1) for one in weights.values()])).astype(np.float64)
    finest = next((power for power in range(32) if not np.any(values * 2.0**power % 1)), None)
    if finest is None:
        raise ValueError("the shared values are no multiples of a power of two")
    row: Row = {"model.pwfn MB": megabytes(path)}
    for kind, mode in (("codebook", 1), ("uniform", 0)):
        how = {"qp": -4 * finest, "nonweight_qp": -4 * finest, "use_dq": False}
        how |= {"bitstream_path": str(folder / "model.nnc"), "return_bitstream": True}
        began = time.perf_counter()
        bitstream = compress(dict(weights), codebook_mode=mode, **how)
        coded = time.perf_counter()
        decoded = decompress(bitstream)
        done = time.perf_counter()
        came_back = {name: np.asarray(decoded[name], np.float32).reshape(one.shape) for name, one in weights.items()}
        same = sum(np.array_equal(came_back[name], one) for name, one in weights.items())
        row |= {f"{kind}: file MB": len(bitstream) / 1e6, f"{kind}: tensors bit for bit": f"{same} of {len(weights)}"}
        row |= {f"{kind}: s to code": coded - began, f"{kind}: s to decode": done - coded}
    return row


def onnxruntime_web(path: Path, folder: Path) -> Row:
    """Make the page of docs/browser, and run its model in Node."""
    from scripts import browser_page

    browser_page.make(path, folder)
    browser_page.install(folder)
    out = subprocess.run(["node", "node.mjs"], cwd=folder, capture_output=True, text=True, check=True)
    wanted = [sample["logits"] for sample in json.loads((folder / "samples.json").read_text())]
    farthest = float(np.abs(np.array(json.loads(out.stdout)) - np.array(wanted)).max())
    return {"file MB": megabytes(folder / "model.onnx"), "images": len(wanted), "logits within": farthest}


@dataclass(frozen=True)
class Runtime:
    """A runtime: what measures it, the module it is recognized by, and what pip is told."""

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
