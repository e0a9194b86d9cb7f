"""A Hydra program of a few lines whose jobs can be told to fail, to kill or to hang: sweeps without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.project import PROJECT, clean_environment

PROGRAM = """
import errno, json, os, signal, subprocess, sys, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base="1.3", config_path="conf", config_name="toy")
def main(cfg):
    hydra = HydraConfig.get()
    folder, number = Path(hydra.runtime.output_dir), str(hydra.job.num)
    with open("started", "a") as file:
        print(number, file=file)
    seen = {"x": cfg.x, "text": cfg.text, "pid": os.getpid(), "mode": hydra.mode.name, "num": hydra.job.num,
            "name": hydra.job.name, "env": dict(os.environ), "argv": sys.argv[1:]}
    (folder / "seen.json").write_text(json.dumps(seen))
    print("job says", cfg.x, flush=True)
    if os.environ.get("FAIL") == number:
        (folder / "failure.json").write_text(json.dumps({"reason": "no luck"}))
        sys.exit(3)
    if os.environ.get("RAISE") == number:
        raise RuntimeError("unlucky")
    if os.environ.get("STOP_SWEEP"):  # as somebody who stops it would
        os.kill(os.getppid(), signal.Signals[os.environ["STOP_SWEEP"]])
        signal.pause()
    if os.environ.get("KILL_SWEEP") == number:
        os.kill(os.getppid(), signal.SIGKILL)
    if number in (os.environ.get("KILL"), os.environ.get("KILL_SWEEP")):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("LINGER") == number:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever waits for what the sweep prints waits no longer
        os.dup2(1, 2)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(float(os.environ["SECONDS"]))
    figures = {"top": cfg.x + (cfg.c == "two"), "bits": cfg.x**2 + cfg.n}
    (folder / "result.json").write_text(json.dumps({"objective": cfg.x, "summary": figures}))

class Popen(subprocess.Popen):
    def __init__(self, command, *args, **options):
        if f"hydra.job.num={os.environ.get('CANNOT_START')}" in command:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        super().__init__(command, *args, **options)

if __name__ == "__main__":
    subprocess.Popen = Popen
    main()
"""
CONFIG = """
defaults:
  - override hydra/launcher: process
  - _self_
x: 0.0
n: 1
c: one
text: x
resume: null
hydra:
  sweep: {dir: sweep, subdir: "job${hydra.job.num}"}
"""


def make(folder: Path) -> Path:
    """The program and its configuration in `folder`, with this project's launcher and sweeper."""
    (folder / "toy.py").write_text(PROGRAM)
    for option in ("launcher/process.yaml", "sweeper/pareto.yaml"):
        copy = folder / "conf/hydra" / option
        copy.parent.mkdir(parents=True)
        copy.write_text((PROJECT / "conf/hydra" / option).read_text().replace("clustered/val_top1", "top"))
        copy.write_text(copy.read_text().replace("entropy_bits", "bits"))
    (folder / "conf/toy.yaml").write_text(CONFIG)
    return folder


def sweep(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "toy.py", "-m", *arguments]
    environment = clean_environment(PYTHONPATH=f"{PROJECT}{os.pathsep}{folder}", COLUMNS="200")
    del environment["OMP_NUM_THREADS"]  # the launcher divides the threads among the jobs
    environment |= variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def seen(folder: Path, number: int) -> dict[str, Any]:
    """What job `number` found itself to be."""
    return json.loads((folder / f"sweep/job{number}/seen.json").read_text())


def started(folder: Path) -> list[int]:
    """The numbers of the jobs that were started since this was last asked."""
    numbers = [int(line) for line in (folder / "started").read_text().split()]
    (folder / "started").unlink()
    return numbers


def jobs(folder: Path, name: str = "jobs") -> list[dict[str, Any]]:
    """The saved table without the times."""
    entries = json.loads((folder / f"sweep/{name}.json").read_text())
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]
