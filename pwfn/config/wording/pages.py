"""Name the pages of docs/ that explain the keys of faults."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pwfn.config import program
from pwfn.config.wording.messages import nearest

_BOTH = {  # page: keys and groups of train and of evaluate
    "docs/data.md": "data",
    "docs/wandb.md": "logger",
    "docs/report.md": "report",
    "docs/sweeps.md": "hydra/launcher hydra/sweeper hydra.launcher hydra.sweeper hydra.sweep",
    "docs/files.md": "hydra.run",
}
_TRAIN = {
    "docs/weights.md": "model pretrain",
    "docs/choices.md": (
        "experiment codebook clustering sigma_join tolerance noise prior sigma regularizer schedule optimizer "
        "distillation finish costly_round"
    ),
    "docs/resume.md": "resume checkpoint",
    "docs/scaling.md": "trainer",
    "docs/sweeps.md": "sweep resume_sweep",
    "docs/dry_run.md": "dry_run inspect",
    "docs/artifact.md": "artifact",
    "docs/budget.md": "budget",
    "docs/files.md": "keep",
    "docs/training_step.md": "kernels detect compile compile_mode",
    "docs/cli.md": "seed name quiet label_smoothing",
}
_EVALUATE = {
    "docs/evaluation.md": (
        "run artifact data_root output device seed quiet samples bins resamples noise compare corruptions "
        "batchnorm_images frontier bill codebook prune_codebook"
    ),
}


def _by_key(*pages: Mapping[str, str]) -> dict[str, str]:
    return {key: page for of in pages for page, keys in of.items() for key in keys.split()}


PAGE_OF = {"train": _by_key(_BOTH, _TRAIN), "evaluate": _by_key(_BOTH, _EVALUATE)}  # program: key: page
_KEY = re.compile(r"'?([a-z_]+(?:/[a-z_]+)?(?:\.[a-z_]+)?)(?=[ .=:])")
_UNKNOWN = re.compile(r"[a-z_.]+ = .*: unknown key")


def pages_of(faults: Iterable[str]) -> list[str]:
    """Return the pages that explain the keys of the faults, in order; none without a checkout."""
    if program.checkout() is None:
        return []
    known = PAGE_OF["evaluate" if program.name() == "evaluate" else "train"]
    found = [_page(fault, known) for fault in faults]
    return list(dict.fromkeys(page for page in found if page is not None))


def see(page: str) -> str:
    """Return the name of `page` in brackets, which ends a fault; nothing without a checkout."""
    return "" if program.checkout() is None else f" ({page})"


def _page(fault: str, known: Mapping[str, str]) -> str | None:
    if (match := _KEY.match(fault)) is None:
        return None
    dotted = match[1]
    first = dotted.partition(".")[0]
    page = known.get(dotted) or known.get(first) or known.get(first.partition("/")[0])
    if page is None and _UNKNOWN.match(fault):
        page = known.get(nearest(first, known, cutoff=0.75) or "")
    return page
