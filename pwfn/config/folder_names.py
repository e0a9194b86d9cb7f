"""Name the folders of runs, sweeps and jobs."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime

from pwfn.config.secrets import without_given_secrets

LONGEST = 100  # characters of a job's folder; file systems allow 255, and its files have names too
_DIGEST = 8


def moment() -> str:
    """Return the time as folders are named: `<date>/<time>_<milliseconds>`."""
    now = datetime.now()
    return f"{now:%Y-%m-%d/%H-%M-%S}_{now.microsecond // 1000:03d}"


def job_folder(number: int, overrides: str) -> str:
    """Name a job's folder by its number and Hydra's `override_dirname`: `3_optimizer.lr-0.01+seed-1`.

    Only characters that neither a shell nor Hydra's own grammar wants quoted, so that the folder can be pasted into
    `evaluate.py run=...`. A name that is too long is cut and ends with a digest of the whole.
    """
    text = re.sub(r"[^\w.,=-]+", "", re.sub(r"[\s/\\:]+", "-", without_given_secrets(overrides)), flags=re.ASCII)
    text = text.replace("=", "-").replace(",", "+").strip(".-+")
    name = f"{number}_{text}" if text else str(number)
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(overrides.encode()).hexdigest()[:_DIGEST]
    return f"{name[: LONGEST - _DIGEST - 1]}_{digest}"
