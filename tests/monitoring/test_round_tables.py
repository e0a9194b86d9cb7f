"""The table of rounds, and a run's result in words."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pwfn.monitoring.round_tables import rounds_table, sentence
from pwfn.records.rounds import RoundRecord, Scores
from tests.support.runs.round_records import BASELINE, record


def rendered(records: list[RoundRecord], width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(rounds_table(records, BASELINE))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100])
def test_table_shows_every_number_of_the_largest_rounds_in_one_line_each(width: int) -> None:
    large = record(1, fraction=0.975, threshold=2.0**14, moved=11_167_818, clustered=Scores(8.89, 20.0, 9.0))
    lines = rendered([record(0), large], width)
    assert max(map(len, lines)) <= width
    assert len(lines) == 2 + 1 + 1 + 2  # two lines of headings, a rule, the pretrained network, two rounds
    assert "…" not in "".join(lines)
    assert lines[3].split() == ["pretrained", "98.89"]
    assert lines[4].split() == ["1", "20.0", "93", "9.01M", "18.12", "99.31", "98.17", "-0.72", "1.5", "0", "13"]
    expected = ["2", "97.5", "94", "9.01M", "17.12", "99.31", "8.89", "-90.00", "16.4k", "11.2M", "13"]
    assert lines[5].split() == expected


def test_table_is_exact_for_small_counts() -> None:
    assert rendered([record(0, unique_weights=9999)], 100)[4].split()[3] == "9999"
    assert rendered([record(0, unique_weights=999_600)], 100)[4].split()[3] == "1.00M"
    assert rendered([record(0, unique_weights=99_960)], 100)[4].split()[3] == "100k"


def test_the_result_in_words() -> None:
    last = record(9, fraction=1.0, codebook_size=93, entropy_bits=3.158, clustered=Scores(99.17, 100.0, 0.02))
    assert sentence(last, BASELINE, 11_167_818) == (
        "11,167,818 weights now share 93 values, entropy 3.16 bits each; "
        "top1 99.17 % (pretrained 98.89 %, +0.28 points)"
    )
    part = sentence(replace(last, fraction=0.5), BASELINE, 100)
    assert part.startswith("50.0 % of the 100 weights now share 93 values, entropy of all of them together 3.16 bits")
