"""Measure model.pwfn at the size of ResNet-50: seconds, memory and bytes, beside what is promised.

    python benchmarks/artifact.py [--json results.json] [--repeat 3]

A ResNet-50 with random weights is clustered to 100 % once; then everything is measured in fresh processes on one core.
Memory is what the kernel counts (VmHWM) above what the process held before: for reading that includes the model itself,
for writing the network that is written was there before (its means, sigmas and assignments are 3 x the float weights).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn, and benchmarks

from benchmarks.memory import peak

NAME = "resnet50.a1_in1k"
BOUNDS = {"write": 2.0, "read": 3.0}  # seconds
MEMORY = 3.0  # times the float weights


def network() -> Any:
    """Build the Bayesian network, not clustered."""
    import timm
    import torch

    from pwfn.bayesian.posterior import set_sigma, to_bayesian
    from pwfn.bayesian.prior import Pow2DistancePrior

    torch.manual_seed(0)
    model = timm.create_model(NAME)
    to_bayesian(model)
    set_sigma(model, Pow2DistancePrior())
    return model.eval()


def prepare(folder: Path) -> None:
    """Cluster the network and leave it, its float weights and its artifact in `folder`."""
    from safetensors.torch import save_file

    import pwfn
    from pwfn.bayesian.flat_weights import FlatWeights
    from pwfn.bayesian.posterior import quantized_tensors
    from pwfn.bayesian.state_dict import plain_state
    from pwfn.clustering.codebooks.codebook import AdditivePow2
    from pwfn.clustering.rules import Greedy
    from pwfn.clustering.sigma_join import std_mu
    from pwfn.run.rounds.cluster_network import cluster_network

    model = network()
    tensors = quantized_tensors(model)
    settings = {"fraction": 1.0, "threshold": 1.0, "rule": Greedy()}
    cluster_network(tensors, FlatWeights.of(tensors), codebook=AdditivePow2(), sigma_join=std_mu, **settings)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "network.safetensors")
    save_file({k: v.detach().contiguous() for k, v in plain_state(model).items()}, folder / "float.safetensors")
    pwfn.save(folder / "model.pwfn", model, name=NAME)
    pwfn.save(folder / "sigma.pwfn", model, name=NAME, sigma=True)


def child(what: str, folder: Path) -> dict[str, float]:
    """Measure one task; everything that is needed is imported before."""
    import timm
    import torch
    from safetensors.torch import load_file, save_file

    import pwfn
    from pwfn.artifact import description, read, write  # noqa: F401
    from pwfn.artifact.receipt import zipped_bytes
    from pwfn.artifact.sections.coding import Table  # noqa: F401

    torch.set_num_threads(1)
    timm.create_model("test_resnet")
    if what.startswith("write"):
        model = network()
        model.load_state_dict(load_file(folder / "network.safetensors"))
        return peak(lambda: pwfn.save(folder / "again.pwfn", model, name=NAME, sigma=what == "write with sigmas"))
    if what == "save safetensors":
        state = load_file(folder / "float.safetensors")
        return peak(lambda: save_file(state, folder / "again.safetensors"))
    tasks: dict[str, Callable[[], Any]] = {
        "read": lambda: pwfn.load(folder / "model.pwfn"),
        "read with sigmas": lambda: pwfn.load(folder / "sigma.pwfn", posterior=True),
        "describe": lambda: pwfn.describe(folder / "model.pwfn"),
        "load safetensors": lambda: timm.create_model(NAME).load_state_dict(load_file(folder / "float.safetensors")),
        "zip safetensors": lambda: zipped_bytes([memoryview((folder / "float.safetensors").read_bytes())]),
    }
    return peak(tasks[what])


MEASURED = ("write", "read", "write with sigmas", "read with sigmas", "describe")
COMPARED = ("save safetensors", "load safetensors", "zip safetensors")


def measure(folder: Path, repeat: int) -> dict[str, dict[str, float]]:
    """Take medians of `repeat` fresh processes each, in turn, on one core."""
    found: dict[str, list[dict[str, float]]] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    for _ in range(repeat):
        for what in (*MEASURED, *COMPARED):
            command = [sys.executable, __file__, "--child", what, "--folder", str(folder)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found.setdefault(what, []).append(json.loads(done.stdout.splitlines()[-1]))
    return {
        what: {key: statistics.median(one[key] for one in runs) for key in ("seconds", "bytes")}
        for what, runs in found.items()
    }


def report(result: dict[str, Any]) -> None:
    """Print the table of a result."""
    from rich.console import Console
    from rich.table import Table

    receipt, times = result["receipt"], result["measured"]
    floats = 4 * receipt["weights"]
    table = Table(title=f"{NAME}, {receipt['weights']:,} weights, one core, median of {result['repeat']}")
    for heading in ("what", "measured", "promised", "kept"):
        table.add_column(heading, justify="left" if heading == "what" else "right")

    def row(what: str, measured: float, bound: float | None, unit: str) -> None:
        kept = "" if bound is None else "yes" if measured <= bound else "NO"
        table.add_row(what, f"{measured:,.3f} {unit}", "" if bound is None else f"{bound:,.3f} {unit}", kept)

    for what in MEASURED:
        row(what, times[what]["seconds"], BOUNDS.get(what), "s")
        row("  its memory", times[what]["bytes"] / floats, MEMORY if what != "describe" else None, "x float weights")
    row("file", result["file"] / 1e6, result["allowed"] / 1e6, "MB")
    row("  of the entropy bound", result["file"] / receipt["entropy_bound"], None, "")
    row("  with sigmas", result["file_with_sigmas"] / 1e6, None, "MB")
    row("fixed width", receipt["fixed_width"] / 1e6, None, "MB")
    row("float32", receipt["float32"] / 1e6, None, "MB")
    row("float32, zipped", result["zip"] / 1e6, None, "MB")
    for what in COMPARED:
        row(what, times[what]["seconds"], None, "s")
    row("read / load safetensors", times["read"]["seconds"] / times["load safetensors"]["seconds"], None, "")
    row("write / zip safetensors", times["write"]["seconds"] / times["zip safetensors"]["seconds"], None, "")
    Console(width=100).print(table)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--repeat", type=int, default=3, help="fresh processes for each figure")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if given.child:
        print(json.dumps(child(given.child, given.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        import pwfn
        from pwfn.artifact.receipt import zipped_bytes

        description = pwfn.describe(folder / "model.pwfn")
        receipt = description["receipt"]
        rest = receipt["float32"] - 4 * receipt["weights"]
        result = {
            "name": NAME,
            "repeat": given.repeat,
            "receipt": receipt,
            "file": description["file"],
            "file_with_sigmas": (folder / "sigma.pwfn").stat().st_size,
            "allowed": 1.01 * receipt["entropy_bits"] * receipt["weights"] / 8 + rest + 20_000,
            "zip": zipped_bytes([memoryview((folder / "float.safetensors").read_bytes())]),
            "measured": measure(folder, given.repeat),
        }
    report(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
