"""Kill a run at random moments, resume it, and compare its files with those of an undisturbed run.

    python benchmarks/kill_and_resume.py [--kills 30] [--processes 1] [--seed 0] [overrides of train.py ...]

A small run on real digits, with augmentation and mixup, is made once without a break. Then one run after the
other is killed (SIGKILL, all of its processes) at a random moment between its first file and its last,
resumed with `python train.py resume=<folder>`, and compared bit for bit: weights, sigmas, assignments and norm
statistics, the clusters of every round with the codebook, and all numbers of all rounds but wall times. Each
kill is one line; exit code 1 if any differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the tests kill runs with

from tests.support.runs.killed_runs import differences, finished, kill, start

SMALL_DIGITS = [
    "model=test_resnet",
    "data=digits",
    "data/augment=crop",
    "data/mix=mixup",
    "data.train_images=600",
    "data.test_images=200",
    "data.batch_size=32",
    "pretrain.epochs=3",
    "schedule=three_rounds",
    "optimizer=sgd_small_data",
    "logger=none",
    "checkpoint.every_steps=3",
]
BEGUN = "config.yaml"  # a run that has not got so far has nothing to lose
DONE = "result.json"  # and one that has got here has nothing left to do


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a file is there, or fail when the process has ended."""
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)


def moment(folder: Path) -> str:
    """Say where a killed run was."""
    files = folder / "checkpoints"
    found = sorted(path.name for path in files.glob("0*.ckpt")) if files.is_dir() else []
    while_writing = ", while a checkpoint was written" if (files / ".new.ckpt.unfinished").exists() else ""
    rounds = len(json.loads((folder / "rounds.json").read_text())) if (folder / "rounds.json").exists() else 0
    newest = f"checkpoint {int(found[-1].partition('-')[0])}" if found else "no checkpoint"
    return f"{rounds} rounds on disk, {newest}{while_writing}"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    overrides = [*SMALL_DIGITS, *args.overrides]
    if args.processes > 1:
        overrides += ["trainer=ddp_cpu", f"trainer.devices={args.processes}"]
    with tempfile.TemporaryDirectory() as scratch:
        raise SystemExit(1 if _tally(Path(scratch), overrides, args.kills, random.Random(args.seed)) else 0)


def _tally(scratch: Path, overrides: list[str], kills: int, rng: random.Random) -> int:
    """Kill, resume and compare; how many differed."""
    whole = scratch / "whole"
    process = start(whole, overrides)
    wait_for(whole / BEGUN, process)
    began = time.monotonic()
    wait_for(whole / DONE, process)
    seconds = time.monotonic() - began
    finished(process, whole)
    print(f"the run left alone took {seconds:.1f} s from its first file to its last", flush=True)
    tally: Counter[str] = Counter()
    while tally["killed"] < kills:
        folder = scratch / f"run{tally['started']}"
        tally["started"] += 1
        process = start(folder, overrides)
        wait_for(folder / BEGUN, process)
        after = rng.uniform(0, seconds)
        time.sleep(after)
        done = (folder / DONE).exists()
        if not kill(process) or done:
            continue  # it was faster this time
        tally["killed"] += 1
        was = moment(folder)
        finished(start(folder, overrides, resume=True), folder)
        different = differences(whole, folder)
        tally["different" if different else "identical"] += 1
        tally["while writing"] += "while a checkpoint" in was
        outcome = f"DIFFERENT: {', '.join(different)}" if different else "identical"
        print(f"kill {tally['killed']:2d} after {after:5.1f} s ({was}): {outcome}", flush=True)
    print(
        f"{tally['killed']} kills, {tally['while writing']} of them while a checkpoint was written: "
        f"{tally['identical']} resumed runs identical, {tally['different']} different"
    )
    return tally["different"]


if __name__ == "__main__":
    main()
