"""Name the pages of docs/ that explain the keys of faults."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pwfn.config import program

_PAGES = {
    "docs/data.md": "data data_root",
    "docs/weights.md": "model pretrain",
    "docs/choices.md": "codebook clustering sigma_join tolerance regularizer prior distillation finish costly_round",
    "docs/wandb.md": "logger",
    "docs/resume.md": "resume checkpoint",
    "docs/scaling.md": "trainer",
    "docs/sweeps.md": "sweep resume_sweep hydra/launcher hydra/sweeper",
    "docs/dry_run.md": "dry_run inspect",
    "docs/evaluation.md": "run artifact compare corruptions frontier bill prune_codebook",
    "docs/report.md": "report",
}
_PAGE_OF = {key: page for page, keys in _PAGES.items() for key in keys.split()}
_KEY = re.compile(r"'?([a-z_]+(?:/[a-z_]+)?)(?=[ .=:])")


def pages_of(faults: Iterable[str]) -> list[str]:
    """Return the pages that explain the keys of the faults, in their order; none where there is no checkout."""
    if program.checkout() is None:
        return []
    keys = [found[1] for fault in faults if (found := _KEY.match(fault)) is not None]
    known = [_PAGE_OF.get(key) or _PAGE_OF.get(key.partition("/")[0]) for key in keys]
    return list(dict.fromkeys(page for page in known if page is not None))
