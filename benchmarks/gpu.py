"""Check on a GPU what this program promises there: one command, a table, exit code 0 if all limits hold.

    python benchmarks/gpu.py [--minutes 8] [--only NAME ...] [--json outputs/benchmark_gpu.json]
    python benchmarks/gpu.py --smoke      # the same checks with small networks on the CPU, to see that they work

It needs neither network nor data. What was not reached in time is a row of the table, and not a success. Figures of
`--smoke` say nothing; of its limits only those count that say what is equal.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

import timm
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.kernels import Gaussian, backend
from pwfn.bayesian.kernels.reference import Reference
from pwfn.bayesian.posterior import quantized_tensors, sampled, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.bayesian.regularizer import ExponentialRegularizer, LinearOnGradRegularizer, LinearRegularizer, NoRegularizer
from pwfn.clustering.codebook import AdditivePow2
from pwfn.clustering.rules import Greedy
from pwfn.clustering.sigma_join import StdMu
from pwfn.run.cluster_network import cluster_network
from pwfn.training.optimizer import SGD, before_step, build_optimizer

PROJECT = Path(__file__).resolve().parent.parent
FIXED = 0.9
OPTIMIZER = SGD(lr=1e-4, momentum=0.9, weight_decay=1e-4, clip_norm=1.0)
ROUNDING = 1e-4
RULES = (LinearRegularizer(0.3, 1.0), NoRegularizer(), ExponentialRegularizer(0.3, 0.5), LinearOnGradRegularizer(0.3))
SHAPES = ((1,), (511,), (1025,), (0,), (64, 3, 7, 7), (256, 64, 1, 1), (128, 128, 3, 3), (3, 1000, 1000))


@dataclass(frozen=True)
class Case:
    """A network and its batch."""

    model: str
    pixels: int
    batch: int
    channels_last: bool = False


@dataclass(frozen=True)
class Row:
    """One figure and its limit; `value` is None where it was not measured."""

    check: str
    case: str
    value: float | None
    limit: float
    at_most: bool = True
    counts: bool = True  # towards the exit code
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the limit holds."""
        if self.value is None:
            return False
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass(frozen=True)
class Plan:
    """Where and with what is measured."""

    device: str
    cases: tuple[Case, ...]
    compiled: tuple[Case, ...]
    blocks: int  # of steps of each kind, in turn
    steps: int  # of a block
    trainer: tuple[str, ...]
    program: tuple[str, ...]  # the overrides of the run whose throughput is measured
    kills: int

    @property
    def smoke(self) -> bool:
        """Whether this is no GPU, so that figures say nothing."""
        return self.device == "cpu"


DEIT = Case("deit_tiny_patch16_224", 224, 256)
RESNET = Case("resnet50", 224, 128, channels_last=True)
PROGRAM = (
    "data=synthetic", "data.channels=3", "data.num_classes=1000", "data.test_size=128", "pretrain=none",
    "schedule.fractions=[1.0]", "tolerance=sigma", "logger=csv", "report=false",
)  # fmt: skip
GPU = Plan(
    "cuda",
    cases=(DEIT, RESNET, Case("densenet161", 224, 32)),
    compiled=(DEIT, RESNET),
    blocks=5,
    steps=5,
    trainer=("trainer=gpu",),
    program=(
        "model=resnet50", "data.pixels=224", "data.image_size=224", "data.train_size=12800", "data.batch_size=128",
        f"data.num_workers={min(12, os.cpu_count() or 1)}", "trainer.precision=bf16-mixed",
    ),
    kills=2,
)  # fmt: skip
SMOKE = Plan(
    "cpu",
    cases=(Case("test_resnet", 32, 4, channels_last=True),),
    compiled=(),
    blocks=1,
    steps=2,
    trainer=("trainer=cpu",),
    program=("model=test_resnet", "data.pixels=32", "data.image_size=32", "data.train_size=160", "data.batch_size=4"),
    kills=1,
)


def laid_out(values: Tensor, form: int) -> Tensor:
    """The numbers in a row, with the channels last, or transposed."""
    if values.dim() == 4 and form == 1:
        return values.to(memory_format=torch.channels_last)
    return values.transpose(0, -1).contiguous().transpose(0, -1) if form == 2 and values.dim() > 1 else values


def kernels(plan: Plan) -> Iterator[Row]:
    """Compare the kernels of this device with the reference: largest difference, over the size of the numbers."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        worst = 0.0
        for rule in RULES:
            for form in range(3):
                for masked in (False, True):
                    worst = max(worst, *_differences(plan.device, dtype, rule, form, masked))
        limit = 0.02 if dtype == torch.bfloat16 else ROUNDING
        yield Row("kernels equal the reference", str(dtype).removeprefix("torch."), worst, limit)


def _differences(device: str, dtype: torch.dtype, rule: Any, form: int, masked: bool) -> Iterator[float]:
    numbers = torch.Generator().manual_seed(0)
    gaussians, grads = [], []
    for number, shape in enumerate(SHAPES):
        mu, sigma, grad = (laid_out(torch.randn(shape, generator=numbers), form).to(device, dtype) for _ in range(3))
        free = laid_out(torch.rand(shape, generator=numbers) < 0.4, form).to(device) if masked else None
        gaussians.append(Gaussian(number, mu, sigma, free, None if number % 2 else free, rule))
        grads.append(grad)
    fast, slow = backend([one.mu for one in gaussians]), Reference()
    scale = torch.tensor(3.0, device=device, dtype=dtype)
    ends = []
    for ones in (fast, slow):
        weights, penalty = ones.draw(gaussians, 2**63 + 12345)
        of_sigma = ones.sigma_gradients(gaussians, grads, scale, 2**63 + 12345)
        totals = [grad.clone() for grad in grads]
        if masked:
            ones.add_masked([(t, g.mu, g.free_mu) for t, g in zip(totals, gaussians, strict=True)], -0.3)
            ones.keep_free([(t, g.free_mu) for t, g in zip(totals, gaussians, strict=True)])
        ends.append([*weights, penalty, *of_sigma, *totals])
    for made, expected in zip(*ends, strict=True):
        if expected.numel():
            yield float((made.double() - expected.double()).abs().max() / expected.double().abs().max().clamp(min=1))


Step = Callable[[], None]


def built(case: Case, plan: Plan, precision: str, share: float | None, *, compiled: bool = False) -> Step:
    """Build an ordinary step (`share` is None), or a Bayesian one with a share of the weights fixed."""
    form = torch.channels_last if case.channels_last else torch.contiguous_format
    model = timm.create_model(case.model, num_classes=1000)
    if share is not None:
        to_bayesian(model)
    model = model.to(plan.device, memory_format=form).train()
    images = torch.randn(case.batch, 3, case.pixels, case.pixels, device=plan.device).to(memory_format=form)
    labels = torch.randint(0, 1000, (case.batch,), device=plan.device)
    trained = torch.compile(model) if compiled else model
    mixed = torch.autocast(plan.device, torch.bfloat16) if precision == "bf16-mixed" else nullcontext()
    if share is None:
        return _ordinary(model, trained, images, labels, mixed)
    set_sigma(model, Pow2DistancePrior())
    for tensor in quantized_tensors(model):
        tensor.gaussian.assignment.masked_fill_(torch.rand_like(tensor.mu) < share, 0)
    return _bayesian(model, trained, images, labels, mixed)


def _ordinary(model: nn.Module, trained: Any, images: Tensor, labels: Tensor, mixed: Any) -> Step:
    parameters = list(model.parameters())
    rates = {"lr": OPTIMIZER.lr, "momentum": OPTIMIZER.momentum, "weight_decay": OPTIMIZER.weight_decay}
    optimizer = torch.optim.SGD(parameters, **rates, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with mixed:
            loss = F.cross_entropy(trained(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def _bayesian(model: nn.Module, trained: Any, images: Tensor, labels: Tensor, mixed: Any) -> Step:
    optimizer = build_optimizer(model, OPTIMIZER)

    def step() -> None:
        optimizer.zero_grad()
        with sampled(model, LinearRegularizer()) as penalty, mixed:
            loss = F.cross_entropy(trained(images), labels) + penalty
        loss.backward()
        before_step(model, OPTIMIZER, optimizer)
        optimizer.step()

    return step


def finish(plan: Plan) -> None:
    """Wait for the device."""
    if not plan.smoke:
        torch.cuda.synchronize()


def seconds(step: Step, plan: Plan) -> float:
    """Measure one step, as the mean of a block of them."""
    finish(plan)
    started = time.perf_counter()
    for _ in range(plan.steps):
        step()
    finish(plan)
    return (time.perf_counter() - started) / plan.steps


def ratios(case: Case, plan: Plan, precision: str, *, compiled: bool = False) -> Iterator[Row]:
    """Compare the Bayesian step with the ordinary one, in turn."""
    shares: tuple[float | None, ...] = (None, 0.0, FIXED)
    runs = [built(case, plan, precision, share, compiled=compiled) for share in shares]
    for step in runs:
        for _ in range(3):
            step()
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(plan.blocks):
        for step, kept in zip(runs, taken, strict=True):
            kept.append(seconds(step, plan))
    ordinary, *bayesian = map(statistics.median, taken)
    kind = "compiled" if compiled else "eager"
    for share, middle in zip(shares[1:], bayesian, strict=True):
        name = f"{case.model} {case.pixels}, batch {case.batch}, {precision}, {kind}, {share:.0%} fixed"
        note = f"ordinary {1000 * ordinary:.1f} ms"
        yield Row("step over ordinary step", name, middle / ordinary, 1.05, counts=not plan.smoke, note=note)


def steps(plan: Plan) -> Iterator[Row]:
    """Compare steps that are not compiled."""
    for precision in ("bf16-mixed", "32-true"):
        for case in plan.cases:
            yield from ratios(case, plan, precision)


def compiled_steps(plan: Plan) -> Iterator[Row]:
    """Compare steps that are compiled."""
    for case in plan.compiled:
        yield from ratios(case, plan, "bf16-mixed", compiled=True)


def memory(plan: Plan) -> Iterator[Row]:
    """Compare the peaks of memory, in bytes of the quantized weights."""
    for case in () if plan.smoke else plan.cases:
        peaks = {share: _peak(case, plan, share) for share in (None, 0.0, FIXED)}
        model = timm.create_model(case.model, num_classes=1000)
        weights = 4 * sum(tensor.mu.numel() for tensor in to_bayesian(model))
        for share in (0.0, FIXED):
            extra = (peaks[share] - peaks[None]) / weights
            yield Row("peak memory over ordinary, in weights", f"{case.model}, {share:.0%} fixed", extra, 3.2)


def _peak(case: Case, plan: Plan, share: float | None) -> int:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    step = built(case, plan, "32-true", share)
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        step()
    finish(plan)
    return torch.cuda.max_memory_allocated() - before


def run(folder: Path, plan: Plan, *overrides: str) -> None:
    """Run train.py; its output is shown where it fails."""
    command = [sys.executable, str(PROJECT / "train.py"), *plan.trainer, *overrides, f"hydra.run.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")


def images_per_second(folder: Path) -> float:
    """Read the median of the rows of a run's CSV logger; the first is left out."""
    with next(folder.glob("training/*/metrics.csv")).open() as file:
        rows = [row.get("train/images_per_second") for row in csv.DictReader(file)]
    values = [float(value) for value in rows if value]
    return statistics.median(values[1:] or values)


def throughput(plan: Plan) -> Iterator[Row]:
    """Compare the program, its loaders and loggers included, with a loop of the same step."""
    overrides = dict(override.split("=", 1) for override in plan.program)
    pixels, batch = int(overrides["data.image_size"]), int(overrides["data.batch_size"])
    model = overrides["model"]
    precision = overrides.get("trainer.precision", "32-true")
    step = built(Case(model, pixels, batch), plan, precision, 0.0)
    for _ in range(3):
        step()
    loop = batch / statistics.median(seconds(step, plan) for _ in range(plan.blocks))
    with tempfile.TemporaryDirectory() as scratch:
        run(Path(scratch) / "run", plan, *PROGRAM, *plan.program)
        program = images_per_second(Path(scratch) / "run")
    note = f"{program:.0f} of {loop:.0f} images a second"
    yield Row("train.py over a loop", model, program / loop, 0.95, at_most=False, counts=not plan.smoke, note=note)


def clustering(plan: Plan) -> Iterator[Row]:
    """Measure a round, the copies from the device and back included."""
    model = timm.create_model("test_resnet" if plan.smoke else "resnet50", num_classes=1000)
    to_bayesian(model)
    set_sigma(model, Pow2DistancePrior())
    model.to(plan.device)
    finish(plan)
    started = time.perf_counter()
    model.to("cpu")
    copied = time.perf_counter() - started
    tensors = quantized_tensors(model)
    before = FlatWeights.of(tensors)
    chosen = {"rule": Greedy(), "codebook": AdditivePow2(), "sigma_join": StdMu()}
    cluster_network(tensors, before, fraction=0.9, threshold=1.0, **chosen)
    model.to(plan.device)
    finish(plan)
    taken = time.perf_counter() - started
    weights = len(before.mu)
    note = f"{weights} weights, of it {copied:.3f} s for the copy to the CPU"
    yield Row("clustering round, seconds", "90% fixed", taken, 1.5, counts=not plan.smoke, note=note)


def resume(plan: Plan) -> Iterator[Row]:
    """Kill runs and compare what they end with once they are resumed."""
    command = [sys.executable, str(PROJECT / "benchmarks/kill_and_resume.py"), "--kills", str(plan.kills)]
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    done = subprocess.run(
        [*command, *plan.trainer, "trainer.deterministic=true"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    note = (done.stdout + done.stderr).strip().splitlines()[-1:]
    yield Row("resumed runs that differ", f"{plan.kills} kills", float(done.returncode), 0.0, note=" ".join(note))


def several(plan: Plan) -> Iterator[Row]:
    """Compare a step of two GPUs with one of one; the program itself compares the ranks by hash."""
    if plan.smoke or torch.cuda.device_count() < 2:
        return
    rates = []
    with tempfile.TemporaryDirectory() as scratch:
        for count, trainer in ((1, ()), (2, ("trainer=ddp", "trainer.devices=2"))):
            folder = Path(scratch) / str(count)
            run(folder, plan, *PROGRAM, *plan.program, *trainer)
            rates.append(images_per_second(folder) / count)
    yield Row("step of two GPUs over one's", "resnet50", rates[0] / rates[1], 1.10)


CHECKS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "kernels": kernels,
    "steps": steps,
    "memory": memory,
    "clustering": clustering,
    "throughput": throughput,
    "resume": resume,
    "compiled": compiled_steps,
    "several": several,
}


def measure(plan: Plan, names: Sequence[str], minutes: float) -> list[Row]:
    """Go through the checks until the time is up."""
    rows, started = list[Row](), time.monotonic()
    for name in names:
        if time.monotonic() - started > 60 * minutes:
            rows.append(Row(name, "not reached in time", None, 0.0))
            continue
        try:
            for row in CHECKS[name](plan):
                rows.append(row)
                print(f"{row.check}: {row.case}: {row.value:.4g}", flush=True)
        except Exception as error:  # it is a row that fails; the other checks are still of use
            rows.append(Row(name, "failed", None, 0.0, note=f"{type(error).__name__}: {error}"))
            print(rows[-1].note, file=sys.stderr, flush=True)
    return rows


def table(rows: Sequence[Row], title: str) -> Table:
    """Make the table."""
    shown = Table(title=title, title_justify="left")
    for heading in ("check", "case", "value", "must", "", "note"):
        shown.add_column(heading)
    for row in rows:
        must = f"{'<=' if row.at_most else '>='} {row.limit:g}"
        value = "-" if row.value is None else f"{row.value:.3g}"
        verdict = "ok" if row.ok else "MISSED" if row.counts else "-"
        shown.add_row(row.check, row.case, value, must, verdict, row.note.splitlines()[0] if row.note else "")
    return shown


def main() -> None:
    """Measure, print the table, write it to a file."""
    parser = argparse.ArgumentParser(description="Check on a GPU what this program promises there.")
    parser.add_argument("--smoke", action="store_true", help="small networks on the CPU, to see that it works")
    parser.add_argument("--minutes", type=float, default=8.0, help="no further check is begun after so many")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmark_gpu.json"))
    options = parser.parse_args()
    if not options.smoke and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here that torch can use; --smoke runs the checks on the CPU")
    plan = SMOKE if options.smoke else GPU
    device = "the CPU, which says nothing" if plan.smoke else torch.cuda.get_device_name()
    rows = measure(plan, options.only, options.minutes)
    Console(width=180).print(table(rows, f"On {device}, torch {torch.__version__}"))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    found = [asdict(row) | {"ok": row.ok} for row in rows]
    options.json.write_text(json.dumps({"device": device, "torch": torch.__version__, "rows": found}, indent=1) + "\n")
    raise SystemExit(0 if all(row.ok or not row.counts for row in rows) else 1)


if __name__ == "__main__":
    main()
