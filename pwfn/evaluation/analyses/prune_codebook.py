"""A network whose codebook was merged down, measured beside the others and written as an artifact of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pwfn.artifact import describe
from pwfn.artifact.header import Recipe
from pwfn.artifact.parts import take_apart
from pwfn.artifact.receipt import Receipt
from pwfn.artifact.write import write
from pwfn.errors import RunError
from pwfn.evaluation.analyses.codebook_merging import Merge, Usage, apply_merges, merges_down_to, usage
from pwfn.evaluation.measure import Measured, Setup
from pwfn.evaluation.subject import CLUSTERED
from pwfn.evaluation.tables import Section
from pwfn.records.files import ARTIFACT

NAME = "pruned"
FILE = "pruned.pwfn"


@dataclass(frozen=True)
class Pruned:
    """What was merged, and what the new artifact weighs."""

    before: Usage
    merges: list[Merge]
    receipt: Receipt
    old: Receipt
    unit: str


def source(setup: Setup) -> Path:
    """The artifact that says how the network is built. Raises RunError where a run has none."""
    path = Path(setup.settings.artifact or Path(str(setup.settings.run)) / ARTIFACT)
    if not path.is_file():
        raise RunError(f"prune_codebook: {path} is missing, which says how the pruned network is built")
    return path


def in_sigmas(setup: Setup) -> bool:
    """Whether moves are priced in sigmas: there may be none that were learned."""
    wanted = setup.settings.codebook.cost == "sigma"
    if wanted and CLUSTERED not in setup.subject.learned:
        note = f"Merges are priced in weight units: {setup.subject.not_learned}."
        if note not in setup.subject.notes:
            setup.subject.notes.append(note)
        return False
    return wanted


def prune(setup: Setup) -> tuple[Setup, Pruned]:
    """Merge the entries of the clustered network and write its artifact; the set-up returned has it as one network more."""
    assert setup.settings.prune_codebook.max_size is not None
    said = describe(source(setup))
    network = setup.network(CLUSTERED)
    sigmas = in_sigmas(setup)
    before = usage(network, in_sigmas=sigmas)
    merges = merges_down_to(before, setup.settings.prune_codebook.max_size)
    apply_merges(network, before, merges)
    recipe = None if said["model"] is None else Recipe.model_validate_json(json.dumps(said["model"]))
    about: dict[str, Any] = {key: said[key] for key in ("data", "class_names", "config")}
    receipt = write(setup.subject.folder / FILE, take_apart(network), recipe, about, sigma=said["sigma"] is not None)
    old = Receipt(**{**said["receipt"], "file": said["file"]})
    subject = replace(setup.subject, networks={**setup.subject.networks, NAME: lambda: network})
    return replace(setup, subject=subject), Pruned(before, merges, receipt, old, "sigmas" if sigmas else "weight units")


def prune_section(setup: Setup, pruned: Pruned, measured: Measured) -> Section:
    """What it cost and what it brought."""
    merges, entries = pruned.merges, len(pruned.before.values)
    moved, cost = sum(merge.weights for merge in merges), sum(merge.cost for merge in merges)
    before, after = (measured.row(name, "mean").figures["top1"] for name in (CLUSTERED, NAME))
    assert before is not None and after is not None and pruned.receipt.file is not None and pruned.old.file is not None
    line = (
        f"Pruned from {entries} to {entries - len(merges)} entries: {len(merges)} merges with {moved:,} moves of weights by "
        f"{cost / max(moved, 1):.4g} {pruned.unit} in the mean; top1 {before:.2f} to {after:.2f} %, entropy "
        f"{pruned.old.entropy_bits:.3f} to {pruned.receipt.entropy_bits:.3f} bits per weight, file "
        f"{pruned.old.file / 1e6:.3f} to {pruned.receipt.file / 1e6:.3f} MB: {setup.subject.folder / FILE}"
    )
    content = {
        "entries_before": entries,
        "entries": entries - len(merges),
        "moves": moved,
        "cost": cost,
        "unit": pruned.unit,
        "merges": [vars(merge) for merge in merges],
        "receipt": pruned.receipt.as_dict(),
    }
    return Section("prune_codebook", content, (line,))
