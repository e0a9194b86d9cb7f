"""A record of a round: every number has a column, comes back from files, and is refused if it is impossible."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pwfn.errors import InvalidValueError
from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS, RoundRecord, read_records
from tests.support.runs.round_records import record


def test_flat_row_names_every_number_once_and_comes_back() -> None:
    flat = record(3).flat()
    assert list(flat) == list(COLUMNS)
    # 3 numbers for each of 4 Scores, 5 order shares, one for each other field
    assert len(flat) == len(fields(RoundRecord)) - 5 + 4 * 3 + 5
    assert (flat["round"], flat["trained/top1"], flat["clustered/loss"]) == (3, 99.31, 1 / 3)
    assert [flat[f"order_{n}_share"] for n in range(5)] == [0.11, 0.12, 0.13, 0.14, 0.15]
    assert RoundRecord.from_flat(flat) == record(3)


def test_every_column_has_a_meaning_and_a_unit() -> None:
    for column in [*COLUMNS.values(), *CLUSTER_COLUMNS.values()]:
        assert len(column.meaning) > 5, column.key
        assert column.unit, column.key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"moved": 0.5}, "moved = 0.5: must be a whole number"),
        ({"threshold": "far"}, "threshold = 'far': must be a number"),
        ({"steps": True}, "steps = True"),
        ({"sigma_max": None}, "sigma_max = None"),
        ({"extra": 1}, "unknown: extra"),
        ({"fraction": 20.0}, "fraction = 20.0"),
    ],
)
def test_from_flat_names_what_is_wrong(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RoundRecord.from_flat({**record().flat(), **change})


def test_from_flat_names_missing_keys() -> None:
    with pytest.raises(ValueError, match="missing: steps, clustered/top1"):
        RoundRecord.from_flat({k: v for k, v in record().flat().items() if k not in ("steps", "clustered/top1")})


def test_a_record_refuses_all_impossible_values_at_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        record(fraction=float("nan"), order_share=(1.0,))
    assert [fault.name for fault in caught.value.faults] == ["fraction", "order_share"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[{", "not readable as JSON"),
        ('{"round": 0}', "must hold a list"),
        ("[3]", "must hold a list"),
        ('[{"round": 0}]', "round 0: missing: fraction"),
    ],
)
def test_read_records_explains_garbage(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "rounds.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        read_records(tmp_path)


def test_read_records_notices_a_missing_round(tmp_path: Path) -> None:
    (tmp_path / "rounds.json").write_text(json.dumps([record(0).flat(), record(2).flat()]))
    with pytest.raises(ValueError, match="expected round 1, found round 2"):
        read_records(tmp_path)
