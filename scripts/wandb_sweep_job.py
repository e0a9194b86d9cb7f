"""Run or resume one job of a W&B sweep, as `wandb agent` starts it (docs/wandb.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path("wandb_sweeps")  # below the folder in which the agent was started: <sweep>/<run>/ is one job's folder
TRAIN = Path(__file__).resolve().parents[1] / "train.py"


def command(overrides: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command line of train.py.

    W&B gives a requeued job the id that it had; where that left a checkpoint, the run goes on from it.

    Args:
        overrides: of a new run.
        environment: with WANDB_SWEEP_ID and WANDB_RUN_ID, which the agent sets.
    """
    folder = ROOT / environment["WANDB_SWEEP_ID"] / environment["WANDB_RUN_ID"]
    if (folder / "config.yaml").is_file() and any((folder / "checkpoints").glob("*.ckpt")):
        return [sys.executable, str(TRAIN), f"resume={folder}"]
    # as the runs of Hydra's sweeps; an override of the same key wins
    return [sys.executable, str(TRAIN), "keep=result", *overrides, f"hydra.run.dir={folder}"]


if __name__ == "__main__":
    if missing := [name for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID") if name not in os.environ]:
        sys.exit(
            f"pwfn: {' and '.join(missing)} must be set, as `wandb agent` does; a single run is started by train.py"
        )
    line = command(sys.argv[1:], os.environ)
    os.execv(line[0], line)  # in its place, so that the agent's signals reach the run
