"""The identity of a run survives it; a damaged one costs a name, not the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pwfn.checkpoint.identity import Identity
from pwfn.records.files import CHECKPOINTS


def test_it_comes_back(tmp_path: Path) -> None:
    identity = Identity.new("name", "sweep")
    identity.write(tmp_path)
    assert Identity.of(tmp_path) == identity


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '"name"', '{"name": "a"}', '{"name": 1, "group": null, "run_id": "x"}', "null", "\x00",
     '{"name": "a", "group": null, "run_id": ""}', '{"name": "a", "group": null, "run_id": "b", "more": 1}'],
)  # fmt: skip
def test_a_damaged_file_is_remarked_on_and_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "run" / CHECKPOINTS).mkdir(parents=True)
    (tmp_path / "run" / CHECKPOINTS / "identity.json").write_text(content)
    with pytest.warns(RuntimeWarning, match=r"identity\.json cannot be read") as said:
        identity = Identity.of(tmp_path / "run")
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    assert (identity.name, identity.group) == ("run", None)
    assert identity.run_id
    identity.write(tmp_path / "run")
    assert Identity.of(tmp_path / "run") == identity


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINTS).mkdir()
    (tmp_path / CHECKPOINTS / "identity.json").write_bytes(b"\xff\xfe")
    with pytest.warns(RuntimeWarning, match=r"identity\.json cannot be read"):
        Identity.of(tmp_path)


def test_a_lost_file_is_a_new_identity(tmp_path: Path) -> None:
    assert Identity.of(tmp_path).name == tmp_path.name
