"""Define the functions that conf/ calls, as `${small_patch:...}`, `${moment:}`, `${job_folder:...}`."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from datetime import datetime

from omegaconf import DictConfig, OmegaConf

from pwfn.config import program
from pwfn.config.secrets import without_given_secrets

LONGEST = 100  # characters of a job's folder; file systems allow 255, and its files have names too
_DIGEST = 8
OWN_PATCH_FROM = 112  # pixels: from here on a vision transformer keeps the patch size it was designed with
BRINGS_WEIGHTS = ("hf-hub:", "hf_hub:", "local-dir:")  # names of models that say where their weights are
TOKENS = 7  # at least so many tokens a side, half of what DeiT has at 224 pixels


def small_patch(image_size: int | None) -> int | None:
    """Return the side of a transformer's patches in pixels, for small images; None = the model's own.

    The largest divisor of `image_size` that leaves at least 7 tokens a side: 4 for 28 and 32 pixels, 8 for 64.

    Raises:
        ValueError: `image_size` is too small.
    """
    if image_size is None or image_size >= OWN_PATCH_FROM:
        return None
    if not isinstance(image_size, int) or image_size < TOKENS:
        raise ValueError(f"data.image_size = {image_size!r}: must be an integer from {TOKENS} for a vision transformer")
    return max(patch for patch in range(1, image_size + 1) if image_size % patch == 0 and patch * TOKENS <= image_size)


def epochs_unless_weights(epochs: int, model: DictConfig) -> int:
    """Return 0 for a model that is given weights, which stay as they are; `epochs` for a random one."""
    name = "" if OmegaConf.is_missing(model, "name") else str(model.get("name", ""))
    given = model.get("pretrained") or model.get("checkpoint") is not None or name.startswith(BRINGS_WEIGHTS)
    return 0 if given else epochs


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


def typed(name: str) -> str:
    """Return what starts the program `name`, as the user of this one types it."""
    return " ".join(program.typed(name))


def register() -> None:
    """Register the functions with OmegaConf, again if they are there."""
    add = _registers()
    for function in (small_patch, epochs_unless_weights, job_folder, typed):
        add(function.__name__, function, replace=True)
    add("moment", moment, replace=True, use_cache=True)


def _registers() -> Callable[..., None]:
    """Return the method that registers a resolver.

    OmegaConf 2.4 calls it `register_resolver`, as an older form was called before, and warns of the present name.
    """
    present = "use_cache" in inspect.signature(OmegaConf.register_resolver).parameters
    return OmegaConf.register_resolver if present else OmegaConf.register_new_resolver
