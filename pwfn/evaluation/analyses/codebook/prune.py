"""Measure a network whose codebook was merged down, and write it as an artifact of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from typing_extensions import override

from pwfn.artifact import describe
from pwfn.artifact.header import Recipe
from pwfn.artifact.parts import take_apart
from pwfn.artifact.plain_form import PlainForm
from pwfn.artifact.receipt import Receipt
from pwfn.artifact.write import write
from pwfn.errors import RunError
from pwfn.evaluation.analyses.analysis import Analysis
from pwfn.evaluation.analyses.codebook.merging import Merge, Usage, apply_merges, merges_down_to, usage
from pwfn.evaluation.measure import Measured, Setup
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.evaluation.subject import CLUSTERED
from pwfn.evaluation.tables import Section
from pwfn.records.files import ARTIFACT

NAME = "pruned"
FILE = "pruned.pwfn"


@dataclass(frozen=True)
class Pruned:
    """Hold what was merged, and the receipts of the artifacts before and after.

    `unit` is that of the costs of the merges.
    """

    before: Usage
    merges: list[Merge]
    receipt: Receipt
    old: Receipt
    unit: str


def source(setup: Setup) -> Path:
    """Return the artifact that says how the network is built; raises RunError where a run has none."""
    path = Path(setup.settings.artifact or Path(str(setup.settings.run)) / ARTIFACT)
    if not path.is_file():
        raise RunError(f"prune_codebook: {path} is missing, which says how the pruned network is built")
    return path


def in_sigmas(setup: Setup) -> bool:
    """Decide whether moves are priced in sigmas, and note down where no sigma was learned to do so."""
    wanted = setup.settings.codebook.cost == "sigma"
    if wanted and CLUSTERED not in setup.subject.learned:
        note = f"Merges are priced in weight units: {setup.subject.not_learned}."
        if note not in setup.subject.notes:
            setup.subject.notes.append(note)
        return False
    return wanted


class PrunedCodebook(Analysis):
    """Merge the codebook down to `max_size` entries, measure again and write the artifact."""

    def __init__(self, settings: EvaluateSettings) -> None:
        super().__init__(settings)
        self._pruned: Pruned | None = None

    @property
    @override
    def wanted(self) -> bool:
        return self.settings.prune_codebook.max_size is not None

    @override
    def prepare(self, setup: Setup) -> Setup:
        network, self._pruned = prune(setup)
        subject = replace(setup.subject, networks={**setup.subject.networks, NAME: lambda: network})
        return replace(setup, subject=subject)

    @override
    def run(self, setup: Setup, measured: Measured) -> Section:
        assert self._pruned is not None  # by `prepare`
        return _section(self._pruned, measured, setup.subject.folder / FILE)


def prune(setup: Setup) -> tuple[nn.Module, Pruned]:
    """Merge the entries of the clustered network, write its artifact, and return it with what was merged.

    Raises:
        RunError: there is no artifact that says how the network is built.
    """
    max_size = setup.settings.prune_codebook.max_size
    assert max_size is not None
    header = describe(source(setup))
    network, sigmas = setup.network(CLUSTERED), in_sigmas(setup)
    before = usage(network, in_sigmas=sigmas)
    merges = merges_down_to(before, max_size)
    apply_merges(network, before, merges)
    recipe = None if header["model"] is None else Recipe.model_validate_json(json.dumps(header["model"]))
    about: dict[str, Any] = {key: header[key] for key in ("data", "class_names", "config")}
    path = setup.subject.folder / FILE
    form: PlainForm = header["plain_form"] or "exact"
    receipt = write(path, take_apart(network), recipe, about, sigma=header["sigma"] is not None, plain=form)
    old = Receipt(**{**header["receipt"], "file": header["file"]})
    return network, Pruned(before, merges, receipt, old, "sigmas" if sigmas else "weight units")


def _section(pruned: Pruned, measured: Measured, path: Path) -> Section:
    """Say what the merges cost and what they brought; `path` is the artifact of the pruned network."""
    merges, entries, old, new = pruned.merges, len(pruned.before.values), pruned.old, pruned.receipt
    moved, cost = sum(merge.weights for merge in merges), sum(merge.cost for merge in merges)
    before, after = (measured.row(name, "mean").figures["top1"] for name in (CLUSTERED, NAME))
    assert before is not None
    assert after is not None
    assert new.file is not None
    assert old.file is not None
    line = (
        f"Pruned from {entries} to {entries - len(merges)} entries: {len(merges)} merges with {moved:,} moves of "
        f"weights by {cost / max(moved, 1):.4g} {pruned.unit} in the mean; top1 {before:.2f} to {after:.2f} %, entropy "
        f"{old.entropy_bits:.3f} to {new.entropy_bits:.3f} bits per weight, file "
        f"{old.file / 1e6:.3f} to {new.file / 1e6:.3f} MB: {path}"
    )
    content = {
        "entries_before": entries,
        "entries": entries - len(merges),
        "moves": moved,
        "cost": cost,
        "unit": pruned.unit,
        "merges": [vars(merge) for merge in merges],
        "receipt": new.as_dict(),
    }
    return Section("prune_codebook", content, (line,))
