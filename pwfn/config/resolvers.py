"""Define the functions that conf/ calls, such as `${small_patch:...}`, `${moment:}` and `${job_folder:...}`."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from pwfn.config import program
from pwfn.config.folder_names import job_folder, moment

OWN_PATCH_FROM = 112  # pixels: from here on a vision transformer keeps the patch size it was designed with
BRINGS_WEIGHTS = ("hf-hub:", "hf_hub:", "local-dir:")  # names of models that say where their weights are
TOKENS = 7  # at least so many tokens a side, half of what DeiT has at 224 pixels


def small_patch(image_size: int | None) -> int | None:
    """Return the side of a transformer's patches in pixels, for small images; None = the model's own.

    The largest divisor of `image_size` that leaves at least 7 tokens a side: 4 for 28 and 32 pixels, 8 for 64.
    """
    if image_size is None or image_size >= OWN_PATCH_FROM:
        return None
    if not isinstance(image_size, int) or image_size < TOKENS:
        raise ValueError(f"data.image_size = {image_size!r}: must be an integer from {TOKENS} for a vision transformer")
    return max(patch for patch in range(1, image_size + 1) if image_size % patch == 0 and patch * TOKENS <= image_size)


def epochs_unless_weights(epochs: int, model: DictConfig) -> int:
    """Return 0 for a model that is given weights, which stay as they are; `epochs` of training for a random one."""
    name = "" if OmegaConf.is_missing(model, "name") else str(model.get("name", ""))
    given = model.get("pretrained") or model.get("checkpoint") is not None or name.startswith(BRINGS_WEIGHTS)
    return 0 if given else epochs


def typed(name: str) -> str:
    """Return what starts the program `name`, as the user of this one types it."""
    return " ".join(program.typed(name))


def register() -> None:
    """Register the functions with OmegaConf, again if they are there."""
    OmegaConf.register_new_resolver("small_patch", small_patch, replace=True)
    OmegaConf.register_new_resolver("epochs_unless_weights", epochs_unless_weights, replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
    OmegaConf.register_new_resolver("moment", moment, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("typed", typed, replace=True)
