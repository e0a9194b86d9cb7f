"""The interval of an accuracy: Wilson's, against its definition."""

from __future__ import annotations

import math

import pytest

from pwfn.models.accuracy_interval import interval, with_interval


@pytest.mark.parametrize(("right", "images"), [(77, 90), (0, 90), (90, 90), (1, 1), (43_211, 50_000)])
def test_the_ends_are_those_accuracies_that_the_found_one_is_just_likely_for(right: int, images: int) -> None:
    """Wilson (1927): the ends p satisfy |found - p| = 1.96 sqrt(p (1 - p) / n)."""
    found = right / images
    for end in interval(100 * found, images):
        share = end / 100
        assert abs(found - share) == pytest.approx(1.959964 * math.sqrt(share * (1 - share) / images), abs=1e-7)
    low, high = interval(100 * found, images)
    assert 0 <= low <= 100 * found + 1e-9
    assert 100 * found - 1e-9 <= high <= 100


def test_an_accuracy_is_written_with_its_interval() -> None:
    assert with_interval(100 * 77 / 90, 90) == "85.56 % (95 % interval 76.8 to 91.4 %, 90 test images)"
    assert with_interval(85.5, None) == "85.50 %"
