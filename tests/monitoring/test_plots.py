"""The pictures show what the records say, also for strange runs."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from subprocess import run

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from pwfn.monitoring.plots import _apart, draw_rounds, draw_weights, rounds_figure, weights_figure
from pwfn.records.rounds import RoundRecord, Scores
from pwfn.records.weight_histogram import WeightHistogram
from tests.support.runs.round_records import BASELINE, record

FRACTIONS = (0.2, 0.6, 0.9, 1.0)


def records() -> list[RoundRecord]:
    return [
        record(n, fraction=FRACTIONS[n], trained=Scores(99.0 + 0.1 * n, 100, 0), clustered=Scores(97.5 + n / 2, 100, 0))
        for n in range(4)
    ]


def weights() -> tuple[torch.Tensor, torch.Tensor]:
    before = torch.randn(100, 50, generator=torch.Generator().manual_seed(0)) * 0.05
    before[0, 0] = 3.0
    return before, (before * 64).round() / 64


def pixels(path: Path) -> np.ndarray:
    return np.asarray(imread(path))[..., :3]


def drawn(image: np.ndarray, color: str) -> int:
    """How many pixels have this very color."""
    return int((np.abs(image - np.array(to_rgb(color))).max(axis=-1) < 0.02).sum())


def test_rounds_picture_is_a_png_with_every_line_in_it(tmp_path: Path) -> None:
    path = tmp_path / "plots" / "rounds.png"
    draw_rounds(records(), BASELINE, path)
    image = pixels(path)
    assert image.shape == (900, 1200, 3)
    for color in ("#0072B2", "#D55E00", "#007A5A", "#8A8A8A"):
        assert drawn(image, color) > 300, color


def test_what_followed_the_last_clustering_is_a_mark_and_no_part_of_the_lines() -> None:
    top, bottom = rounds_figure([*records(), record(4, clustered=Scores(99.9, 100, 0))], BASELINE).axes
    lines = {line.get_label(): line for axes in (top, bottom) for line in axes.lines}
    assert set(lines) == {"pretrained", "trained", "clustered", "entropy", "finished"}
    assert [lines["finished"].get_xdata(), lines["finished"].get_ydata()] == [[100.0], [99.9]]
    assert lines["clustered"].get_ydata()[-1] == 99.0
    assert len(lines["entropy"].get_ydata()) == 4
    assert {text.get_text() for text in top.texts} >= {"clustered 99.00", "finished 99.90"}


def test_rounds_figure_holds_the_numbers_of_the_records() -> None:
    top, bottom = rounds_figure(records(), BASELINE).axes
    lines = {line.get_label(): line for axes in (top, bottom) for line in axes.lines}
    assert set(lines) == {"pretrained", "trained", "clustered", "entropy"}
    for name in ("trained", "clustered", "entropy"):
        np.testing.assert_allclose(lines[name].get_xdata(), [20, 60, 90, 100])
    np.testing.assert_allclose(lines["trained"].get_ydata(), [99.0, 99.1, 99.2, 99.3])
    np.testing.assert_allclose(lines["clustered"].get_ydata(), [97.5, 98.0, 98.5, 99.0])
    np.testing.assert_allclose(lines["pretrained"].get_ydata(), [98.89, 98.89])
    np.testing.assert_allclose(lines["entropy"].get_ydata(), [one.entropy_bits for one in records()])
    labels = [text.get_text() for text in (*top.texts, *bottom.texts)]
    assert sorted(labels) == ["15.12 bits,\n9,011,164 values", "clustered 99.00", "pretrained 98.89", "trained 99.30"]


def test_every_point_lies_inside_the_axes() -> None:
    worst = [record(0, fraction=0.05, trained=Scores(0.1, 1, 7), clustered=Scores(99.9, 100, 0))]
    for axes in rounds_figure(worst, BASELINE).axes:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        for line in axes.lines:
            assert all(low <= y <= high for y in line.get_ydata())
        assert left < 5 < 100 < right


@pytest.mark.parametrize("heights", [[0.0, 0.1, 5.0], [1.0, 1.0, 1.0], [0.0, 0.5, 1.2, 1.3], [3.0]])
def test_labels_do_not_collide_and_stay_near(heights: list[float]) -> None:
    places = _apart(heights, 1.0)
    assert all(b - a >= 1 - 1e-9 for a, b in pairwise(places))
    assert np.mean(places) == pytest.approx(np.mean(heights))
    assert _apart([0.0, 0.1, 5.0], 1.0) == pytest.approx([-0.45, 0.55, 5.0])


def test_weights_picture_shows_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "weights.png"
    draw_weights(WeightHistogram.of(*weights()), path)
    image = pixels(path)
    assert image.shape == (675, 1200, 3)
    assert drawn(image, "#9CC9E6") > 20_000
    assert drawn(image, "#D55E00") > 1_000


def test_weights_figure_holds_every_weight_and_every_value() -> None:
    before, after = weights()
    [axes] = weights_figure(WeightHistogram.of(before, after)).axes
    [bars] = axes.patches
    heights, edges, _ = bars.get_data()  # type: ignore[attr-defined]
    assert heights.sum() == before.numel()
    assert edges[0] < before.min()
    assert edges[-1] > before.max()
    values, counts = after.unique(return_counts=True)
    [stems] = axes.collections
    drawn_stems = {(float(s[1][0]), int(s[1][1])) for s in stems.get_segments()}
    assert drawn_stems == set(zip(values.tolist(), counts.tolist(), strict=True))
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert left < values.min()
    assert right > values.max()
    assert low < 1
    assert high > counts.max()
    assert axes.get_yscale() == "log"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["before: 5,000 weights", f"after: {len(values)} values"]


def test_too_many_values_are_cut_to_the_most_frequent_and_it_is_said() -> None:
    before = torch.cat([torch.linspace(-1, 1, 2000), torch.full((50,), 0.3)])
    [axes] = weights_figure(WeightHistogram.of(before, before)).axes
    [stems] = axes.collections
    assert len(stems.get_segments()) == 512
    assert max(segment[1][1] for segment in stems.get_segments()) == 50
    assert "512 most frequent" in axes.get_legend().get_texts()[1].get_text()


@pytest.mark.parametrize("before", [torch.zeros(10), torch.full((5,), 2.0**-3), torch.randn(50).half()])
def test_degenerate_weights_can_be_drawn(tmp_path: Path, before: torch.Tensor) -> None:
    draw_weights(WeightHistogram.of(before, before), tmp_path / "weights.png")
    assert drawn(pixels(tmp_path / "weights.png"), "#D55E00") > 50


@pytest.mark.slow
def test_no_global_matplotlib_state_is_touched(tmp_path: Path) -> None:
    code = (
        "import sys, torch, pathlib; from pwfn.monitoring.plots import draw_weights;"
        "from pwfn.records.weight_histogram import WeightHistogram as W; "
        f"draw_weights(W.of(torch.randn(9), torch.zeros(9)), pathlib.Path({str(tmp_path / 'w.png')!r}));"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
