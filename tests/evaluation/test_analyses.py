"""The registry of analyses against the settings and the sections that they write."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from pwfn.evaluation.analyses.registry import ANALYSES, chosen
from pwfn.evaluation.settings import CodebookSpec, Corruptions, EvaluateSettings, NoiseLevels, PruneCodebook
from pwfn.run.start import Finished
from tests.support.evaluation import measured, settings

EVERYTHING = {
    "noise": NoiseLevels(2, (0.01,), (), ()),
    "corruptions": Corruptions(("noise",), (0.1,), (), (), ()),
    "frontier": True,
    "bill": True,
    "codebook": CodebookSpec(True, 10, "sigma"),
    "prune_codebook": PruneCodebook(5),
    "batchnorm_images": 64,
}


def test_each_name_is_a_key_of_the_settings_that_chooses_it_alone() -> None:
    assert set(ANALYSES) <= {field.name for field in fields(EvaluateSettings)}
    assert chosen(settings(run="x")) == []
    for name, value in EVERYTHING.items():
        assert [type(one) for one in chosen(settings(run="x", **{name: value}))] == [ANALYSES[name]]


@pytest.mark.slow
def test_each_section_has_the_name_of_its_analysis(finished_run: Finished, tmp_path: Path) -> None:
    again = measured(run=str(finished_run.folder), output=str(tmp_path), **EVERYTHING)
    written = json.loads((tmp_path / "evaluation.json").read_text())
    sections = [name for name in written if name in EVERYTHING]
    assert sections == ["noise", "corruptions", "frontier", "bill", "codebook", "prune_codebook"]
    assert [row.network for row in again.rows] == ["pretrained", "trained", "clustered", "pruned", "new BN"]
