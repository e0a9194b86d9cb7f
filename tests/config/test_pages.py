"""Faults name the page that explains their keys, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pwfn.config import build, program
from pwfn.config.wording import pages
from tests.support.project import PROJECT


def test_every_page_is_there() -> None:
    assert [page for page in pages._PAGES if not (PROJECT / page).is_file()] == []


@pytest.mark.parametrize(
    ("faults", "found"),
    [
        (["data.batch_size = 0: must be from 1"], ["docs/data.md"]),
        (["data/augment = 'x': must be one of none"], ["docs/data.md"]),
        (["hydra/launcher = 'x': must be one of basic"], ["docs/sweeps.md"]),
        (
            ["run = None: must be the folder", "run = 1: no", "codebook=pow3: must"],
            ["docs/evaluation.md", "docs/choices.md"],
        ),
        (["seed = -1: must be from 0", "/nowhere: no such folder"], []),
        (["'data.augment.scale=[0.6,' '1]': must be one word"], ["docs/data.md"]),
    ],
)
def test_the_pages_of_faults(faults: list[str], found: list[str]) -> None:
    assert pages.pages_of(faults) == found


def test_the_first_line_names_them_in_a_checkout_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for checkout, named in ((Path("/somewhere"), " (docs/wandb.md)"), (None, "")):
        monkeypatch.setattr(program, "checkout", lambda there=checkout: there)
        with pytest.raises(SystemExit):
            build.refuse(["logger.mode = 1: must be a text"])
        assert capsys.readouterr().err.splitlines()[0] == f"pwfn: 1 fault in the configuration{named}:"
