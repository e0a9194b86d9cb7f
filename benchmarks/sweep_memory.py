"""Measure memory and open files of a sweep's own process while 20 jobs run one after the other.

    python benchmarks/sweep_memory.py [--jobs 20] [--launcher process] [--json outputs/benchmark_sweep_memory.json]

With `--launcher process` (the default of sweeps) the process is the one that starts the jobs; with
`--launcher basic` all jobs run within it. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pwfn.records.files import write_text

PROJECT = Path(__file__).parent.parent
SMALL = ["experiment=smoke", "quiet=true", "logger=none", "data.train_size=64", "data.test_size=60", "report=false"]


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--launcher", choices=("process", "basic"), default="process")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmark_sweep_memory.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = watched(Path(folder), args.jobs, args.launcher)
    print(f"{'job':>3} {'MB':>8} {'open files':>10} {'threads':>8}")
    for row in rows:
        print(f"{row['job']:>3} {row['mb']:>8.1f} {row['files']:>10} {row['threads']:>8}")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.json, json.dumps({"launcher": args.launcher, "rows": rows}, indent=1) + "\n")


def watched(folder: Path, jobs: int, launcher: str) -> list[dict[str, float]]:
    """Run a sweep in `folder` and look at its process whenever one more job has its result."""
    seeds = ",".join(map(str, range(jobs)))
    command = [sys.executable, str(PROJECT / "train.py"), "-m", *SMALL, f"seed={seeds}", f"hydra/launcher={launcher}"]
    log = folder / "log"
    rows: list[dict[str, float]] = []
    with log.open("w") as out:
        running = subprocess.Popen([*command, "hydra.sweep.dir=sweep"], cwd=folder, stdout=out, stderr=out)
        while running.poll() is None:
            if len(list((folder / "sweep").glob("*/result.json"))) > len(rows):
                rows.append({"job": len(rows), **state(running.pid)})
            time.sleep(0.02)
    if running.returncode != 0 or len(rows) < jobs - 1:  # the process may have ended before the last look
        sys.exit(
            f"the sweep ended with exit code {running.returncode} after {len(rows)} jobs:\n{log.read_text()[-2000:]}"
        )
    return rows


def state(pid: int) -> dict[str, float]:
    """Return resident megabytes (10^6 bytes), open files and threads of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return {
        "mb": int(status["VmRSS"].split()[0]) * 1024 / 1e6,
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(status["Threads"]),
    }


if __name__ == "__main__":
    main()
