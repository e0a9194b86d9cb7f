"""Check on a GPU what this program promises there: a table, and exit code 0 if all limits hold.

    python benchmarks/gpu.py [--minutes 8] [--compile-all] [--only NAME ...] [--json outputs/benchmark_gpu.json]
    python benchmarks/gpu.py --smoke      # the same checks with small networks on the CPU, to see that they work

It needs neither network nor data. What was not reached in time is a row of the table, and not a success. Figures of
`--smoke` say nothing; of its limits only those count that say what is equal.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gpu_checks.kernels import kernels
from benchmarks.gpu_checks.plan import GPU, SMOKE, Plan, Row
from benchmarks.gpu_checks.programs import resume, several, throughput
from benchmarks.gpu_checks.rounds import clustering
from benchmarks.gpu_checks.steps import compiled_steps, memory, steps

CHECKS: dict[str, Callable[[Plan], Iterator[Row | None]]] = {
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
                if row is not None:
                    rows.append(row)
                    print(f"{row.check}: {row.case}: {row.value:.4g}", flush=True)
                elif time.monotonic() - started > 60 * minutes:
                    rows.append(Row(name, "not all reached in time", None, 0.0))
                    break
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
    parser.add_argument("--minutes", type=float, default=8.0, help="no further network is begun after so many")
    parser.add_argument("--compile-all", action="store_true", help="compile DenseNet-161 too, which takes minutes more")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmark_gpu.json"))
    options = parser.parse_args()
    if not options.smoke and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here that torch can use; --smoke runs the checks on the CPU")
    plan = SMOKE if options.smoke else GPU
    if options.compile_all:
        plan = replace(plan, compiled=plan.cases)
    device = "the CPU, which says nothing" if plan.smoke else torch.cuda.get_device_name()
    rows = measure(plan, options.only, options.minutes)
    Console(width=180).print(table(rows, f"On {device}, torch {torch.__version__}"))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    found = [asdict(row) | {"ok": row.ok} for row in rows]
    options.json.write_text(json.dumps({"device": device, "torch": torch.__version__, "rows": found}, indent=1) + "\n")
    raise SystemExit(0 if all(row.ok or not row.counts for row in rows) else 1)


if __name__ == "__main__":
    main()
