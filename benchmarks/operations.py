"""Count the operations that a Bayesian step dispatches beside an ordinary one (docs/training_step.md).

    python benchmarks/operations.py [--quick] [--json outputs/benchmark_operations.json]

On a fast GPU a small network waits for the host, which takes some microseconds for each operation. They are counted on
the CPU, for a step as it is on a GPU: the kernels of `pwfn.bayesian.kernels.triton_cuda`, whose launches are counted
but compute nothing, no number read back from the device, and in the ordinary step torch's foreach optimizer.

`work` leaves out views and empty tensors, which start nothing on the device; `all` has them. A launch is one operation
beside those that prepare it, the copy of its table included. Exit code 1 if a ratio of `work` is above its limit.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from benchmarks.training_step import bayesian_step, ordinary_step
from pwfn.bayesian.kernels import choice
from pwfn.bayesian.kernels.triton_cuda import TritonCUDA

LIMIT = 1.10
CASES = (("deit_tiny_patch16_224", 224), ("resnet50", 64), ("densenet161", 64))
QUICK = (("test_vit", 160),)
SHARES = (0.0, 0.5, 0.9, 1.0)  # of the weights that are fixed
COPIES = 1  # of the table to a GPU; on a CPU there is nothing to copy
EMPTY = ("empty", "empty_like", "new_empty", "empty_strided", "_unsafe_view", "lift_fresh")


class LaunchesOnly(TritonCUDA):
    """Launch the kernels of a GPU for tensors anywhere, and compute nothing."""

    launches = 0

    @override
    def supports(self, tensors: Sequence[Tensor]) -> bool:
        """Return True."""
        return True

    @override
    def _start(self, kernel: Any, programs: int, *arguments: Any) -> None:
        LaunchesOnly.launches += 1


class Counted(TorchDispatchMode):
    """Count what is dispatched inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.views, self.work = Counter[str](), Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation."""
        name = func.overloadpacket.__name__
        (self.views if func.is_view or name in EMPTY else self.work)[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Take the decisions of a GPU on the CPU inside the block."""
    kernels = LaunchesOnly()
    with (
        patch.dict(choice.KERNELS, {"launches": lambda: kernels}),
        patch.object(choice, "_chosen", "launches"),
        patch("pwfn.training.optimizer.is_free_to_read", lambda _: False),
        patch("pwfn.bayesian.posterior.fresh_key", lambda: 1),  # a number of the CPU's generator in either case
    ):
        yield


def count(step: Callable[[], None]) -> dict[str, int]:
    """Count the operations of a step, `work` and `all`."""
    step()  # the optimizer's state is there from then on
    LaunchesOnly.launches = 0
    with Counted() as counted:
        step()
    work = sum(counted.work.values()) + LaunchesOnly.launches * (1 + COPIES)
    return {"work": work, "all": work + sum(counted.views.values()), "launches": LaunchesOnly.launches}


def measure(model: str, pixels: int) -> dict[str, Any]:
    """Count the ordinary step of a model, and the Bayesian one at each share of fixed weights."""
    torch.manual_seed(0)
    images, labels = torch.randn(2, 3, pixels, pixels), torch.randint(0, 1000, (2,))
    ordinary = count(ordinary_step(timm.create_model(model, num_classes=1000), images, labels, foreach=True))
    bayesian = {}
    for share in SHARES:
        with as_on_a_gpu():
            network = timm.create_model(model, num_classes=1000)
            bayesian[share] = count(bayesian_step(network, images, labels, fixed=share))
    ratios = {share: counts["work"] / ordinary["work"] for share, counts in bayesian.items()}
    return {
        "model": model,
        "ordinary": ordinary,
        "bayesian": bayesian,
        "ratio": ratios,
        "ok": max(ratios.values()) <= LIMIT,
    }


def table(results: Sequence[dict[str, Any]]) -> Table:
    """Make the table of counts."""
    shown = Table(title="Operations of a training step as on a GPU: work (all)", title_justify="left")
    for heading in ("model", "ordinary", *(f"{share:.0%} fixed" for share in SHARES), "launches", "ratio", "must", ""):
        shown.add_column(heading)
    for one in results:
        counts = [one["ordinary"], *one["bayesian"].values()]
        launches = max(c["launches"] for c in counts)
        cells = [f"{c['work']} ({c['all']})" for c in counts]
        verdict = "ok" if one["ok"] else "MISSED"
        shown.add_row(
            one["model"], *cells, str(launches), f"{max(one['ratio'].values()):.3f}", f"<= {LIMIT:g}", verdict
        )
    return shown


def main() -> None:
    """Count, print the table, write it to a file."""
    parser = argparse.ArgumentParser(description="The operations of a Bayesian training step beside an ordinary one.")
    parser.add_argument("--quick", action="store_true", help="one small network, to see that it works")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmark_operations.json"))
    options = parser.parse_args()
    results = [measure(*case) for case in (QUICK if options.quick else CASES)]
    Console(width=140).print(table(results))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(0 if all(one["ok"] for one in results) else 1)


if __name__ == "__main__":
    main()
