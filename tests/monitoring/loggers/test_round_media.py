"""Histograms of a round count every weight once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pwfn.clustering import chunking
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.clustering.statistics import cluster_rows
from pwfn.monitoring.loggers.round_media import BINS, round_view
from pwfn.monitoring.plots import codebook_figure
from pwfn.records.metric_names import ROUND_VIEW


def clustered(size: int, fraction: float):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(size)
    start = 0.05 * torch.randn(size, generator=generator)
    mu = start + 0.001 * torch.randn(size, generator=generator)
    sigma = 0.01 * torch.rand(size, generator=generator)
    result = cluster_round(mu, sigma, fraction=fraction)
    return (
        start,
        result,
        cluster_rows(mu, sigma, result.assignment, result.codebook, AdditivePow2().orders(result.codebook)),
    )


@pytest.mark.parametrize(("size", "fraction"), [(1, 1.0), (1000, 0.5), (chunking.CHUNK + 17, 1.0)])
def test_histograms_count_every_weight_where_numpy_does(size: int, fraction: float) -> None:
    start, result, rows = clustered(size, fraction)
    view = round_view(start, result, rows)
    sigma = np.log2(np.maximum(result.sigma.double().numpy(), 2.0**-30))
    values = {
        "histogram/mu": result.mu.double().numpy(),
        "histogram/sigma": sigma,
        "histogram/displacement": np.abs((result.mu - start).double().numpy()),
    }
    assert set(view.histograms) | {"clusters", "codebook"} == set(ROUND_VIEW)
    for key, one in view.histograms.items():
        assert sum(one.counts) == size
        assert len(one.edges) == BINS + 1 == len(one.counts) + 1
        # on an edge float32 and float64 may differ by one bin, so that sums from the left differ by what is there
        width = one.edges[1] - one.edges[0]
        assert one.edges[0] <= values[key].min() + 1e-6
        assert values[key].max() <= one.edges[-1] + 1e-6
        found, true = (
            np.cumsum(one.counts),
            np.searchsorted(np.sort(values[key]), np.array(one.edges[1:]) + width / 100),
        )
        early = np.searchsorted(np.sort(values[key]), np.array(one.edges[1:]) - width / 100)
        assert ((early <= found) & (found <= true)).all(), key


def test_weights_that_are_all_zero_and_never_moved_still_have_histograms() -> None:
    _, result, rows = clustered(1, 1.0)
    result.mu.zero_()
    view = round_view(torch.zeros(1), result, rows)
    assert [sum(one.counts) for one in view.histograms.values()] == [1, 1, 1]


def test_the_picture_shows_every_value_with_its_weights() -> None:
    _, result, rows = clustered(1000, 1.0)
    (axes,) = codebook_figure(rows).axes
    drawn = {(x, y) for line in axes.lines for x, y in zip(*map(list, line.get_data()), strict=True)}
    assert drawn == {(row["value"], row["count"]) for row in rows}
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sum(int(label.rpartition(" ")[2]) for label in labels) == len(rows) == result.codebook.numel()
    low, high = axes.get_xlim()
    assert low < min(row["value"] for row in rows)
    assert max(row["value"] for row in rows) < high
    picture = round_view(*clustered(1000, 1.0)).picture
    assert picture.shape == (450, 800, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 5


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**14), 2**14), st.integers(1, 2**30)), max_size=5))
def test_any_codebook_can_be_drawn(entries: list[tuple[int, int]]) -> None:
    rows = [{"value": n / 128, "order": (None, 0, 1, 2, 3, 4)[n % 6], "count": count} for n, count in entries]
    assert math.isfinite(codebook_figure(rows).axes[0].get_ylim()[1])
