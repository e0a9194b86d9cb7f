"""Make every kind of input that users bring, run the program on it, and print a line each.

    python scripts/real_world.py                  # all of them, a few minutes
    python scripts/real_world.py --only weights   # those of one module, or with a word in their name

The cases are in scripts/real_world_cases/. Nothing is left behind; the exit code is 1 if any outcome is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import real_world_cases
from real_world_cases import Case, Done

PROGRAM = Path(__file__).parents[1] / "train.py"
TIMEOUT = 600  # seconds


def cases(only: list[str]) -> Iterator[tuple[str, Case]]:
    """Yield every case with its module's name; if `only` is given, those with one of its texts in a name."""
    for module in sorted(info.name for info in pkgutil.iter_modules(real_world_cases.__path__)):
        for case in importlib.import_module(f"real_world_cases.{module}").CASES:
            if not only or any(words in f"{module}: {case.name}" for words in only):
                yield module, case


def outcome(case: Case, work: Path) -> tuple[bool, str]:
    """Run one case in an empty folder; return whether what came out is right, and what it is."""
    inputs, run = work / "inputs", work / "run"
    inputs.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_HUB_OFFLINE": "1", **case.environment}
    try:
        command = [sys.executable, str(PROGRAM), *case.arguments(inputs), f"hydra.run.dir={run}", "logger=none"]
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        return True, case.outcome(Done(done.returncode, done.stdout + done.stderr, run, inputs))
    except (AssertionError, OSError, LookupError, ValueError) as error:
        return False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def judged(named: tuple[str, Case]) -> tuple[bool, str]:
    """Run one case in a temporary folder and return its verdict with the line about it."""
    module, case = named
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        right, words = outcome(case, Path(work))
        words = words.replace(f"{work}/inputs/", "").replace(f"{work}/", "")
    verdict = "ok   " if right else "WRONG"
    return right, f"{verdict} {module}: {case.name}: {words} ({time.monotonic() - started:.0f} s)"


def main() -> int:
    """Run the cases and print their tally."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=[], help="names of modules, or words of the names of cases")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    options = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, runs would pass it over, as they should
    verdicts = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for right, line in pool.map(judged, cases(options.only)):
            verdicts.append(right)
            print(line, flush=True)
    print(f"{sum(verdicts)} of {len(verdicts)} as they should be")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
