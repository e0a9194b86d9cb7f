"""Measure what accuracy and size every round of a run would have had, if it had been the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor, nn
from typing_extensions import override

from pwfn.artifact import ArtifactError, describe, load
from pwfn.artifact.parts import take_apart
from pwfn.artifact.write import write
from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.checkpoint.saved_networks import read_values
from pwfn.clustering.rules import RuleOfWeights
from pwfn.clustering.second_order import SecondOrder
from pwfn.clustering.tolerance import Gradients
from pwfn.errors import RunError
from pwfn.evaluation.analyses.analysis import Analysis
from pwfn.evaluation.measure import Measured, Setup, scores_of
from pwfn.evaluation.run_subject import rebuilt_settings
from pwfn.evaluation.subject import CLUSTERED
from pwfn.evaluation.tables import Section, new_table
from pwfn.monitoring.plots import GREEN, INK, ORANGE, save, tidy
from pwfn.records.columns import csv_of
from pwfn.records.files import write_text
from pwfn.records.rounds import RoundRecord, read_records
from pwfn.run.rounds.cluster_network import cluster_network
from pwfn.run.rounds.second_order_round import SecondOrderRound
from pwfn.run.rounds.tolerance_gradients import gradients_for
from pwfn.run.settings import TrainSettings


class StopAfterRound(Analysis):
    """Cluster a copy of every round's network to the end, and measure it.

    The run must have kept the networks of all rounds, with their sigmas.
    """

    @property
    @override
    def wanted(self) -> bool:
        return self.settings.frontier

    @override
    def check(self) -> None:
        saved_rounds(Path(str(self.settings.run)))

    @override
    def run(self, setup: Setup, measured: Measured) -> Section:
        del measured  # these networks are others
        stops, folder = frontier(setup), setup.subject.folder
        headings = [field.name for field in fields(Stop)]
        write_text(folder / "frontier.csv", csv_of(headings, (asdict(stop).values() for stop in stops)))
        draw_frontier(stops, folder / "frontier.png")
        return Section("frontier", [asdict(stop) for stop in stops], (frontier_table(stops),))


@dataclass(frozen=True)
class Stop:
    """Hold the figures of a copy of the network after one round (counted from 1), clustered to 100 %."""

    round: int
    fraction: float  # of the weights that were fixed when the round ended
    epochs: float  # of training until then
    top1: float  # percent, of the copy
    loss: float  # nats
    codebook_size: int
    entropy_bits: float  # per weight
    file_mb: float  # of the copy's artifact without the run's config, 10^6 bytes


def saved_rounds(folder: Path) -> list[tuple[RoundRecord, Path | None]]:
    """Return every round with the file of its network, None for the last.

    Raises:
        RunError: a file is missing or has no sigmas, without which it cannot be clustered.
    """
    found: list[tuple[RoundRecord, Path | None]] = []
    records = read_records(folder)
    for record in records:
        if record.fraction == 1:
            if record is records[-1]:  # of a run that was finished after its last clustering, only what came of that
                found.append((record, None))
            continue
        path = folder / f"round_{record.round + 1}.pwfn"
        try:
            complete = path.is_file() and describe(path)["sigma"] is not None
        except ArtifactError as error:
            raise RunError(str(error)) from error
        if not complete:
            raise RunError(
                f"frontier: {path} is missing or has no sigmas: it needs a run with artifact.every_round=true "
                "artifact.sigma=true"
            )
        found.append((record, path))
    return found


def frontier(setup: Setup) -> list[Stop]:
    """Cluster a copy of every saved round to the end, and measure it."""
    folder = Path(str(setup.settings.run))
    saved, _ = rebuilt_settings(folder, setup.settings.data_root)
    stops = []
    for record, path in saved_rounds(folder):
        setup.say(f"stop here: round {record.round + 1}")
        network = setup.network(CLUSTERED) if path is None else load(path, posterior=True).eval()
        if path is not None:
            made = read_values(folder) or saved.codebook
            cluster_to_the_end(network, replace(saved, codebook=made), record.round, *_looked_at(setup, saved, network))
        with TemporaryDirectory() as place:
            receipt = write(Path(place) / "copy.pwfn", take_apart(network), None, {})
        scores = scores_of(network.to(setup.on.device), setup.images, setup.on)
        assert receipt.file is not None
        stops.append(
            Stop(
                record.round + 1,
                record.fraction,
                record.epochs,
                scores.top1,
                scores.loss,
                receipt.codebook,
                receipt.entropy_bits,
                receipt.file / 1e6,
            )
        )
    return stops


def _looked_at(setup: Setup, saved: TrainSettings, network: nn.Module) -> tuple[Gradients, Callable[[int], Tensor]]:
    data = setup.subject.data
    return gradients_for(saved.tolerance, network.to(setup.on.device), data), data.calibration_images


def cluster_to_the_end(
    network: nn.Module,
    saved: TrainSettings,
    round_index: int,
    gradients: Gradients,
    images: Callable[[int], Tensor],
) -> None:
    """Cluster all weights of a network, in place, as its run would have in one round.

    Args:
        network: a Bayesian network, some of whose weights are still free.
        saved: the settings of the run.
        round_index: the round whose threshold counts, from 0.
        gradients: for a tolerance that is made of gradients.
        images: training images, for a clustering that looks at some.
    """
    if isinstance(saved.clustering, SecondOrder):
        rule = saved.clustering
        SecondOrderRound(network, rule, saved.codebook, saved.sigma_join, images(rule.images), round_index).run(1.0)
        return
    assert isinstance(saved.clustering, RuleOfWeights)
    tensors = quantized_tensors(network)
    with torch.no_grad():
        cluster_network(
            tensors,
            FlatWeights.of(tensors),
            fraction=1.0,
            threshold=saved.clustering.threshold(round_index, saved.schedule.rounds),
            rule=saved.clustering,
            codebook=saved.codebook,
            sigma_join=saved.sigma_join,
            tolerance=lambda weights: saved.tolerance(weights.mu, weights.sigma, gradients),
        )
    assert not any((tensor.gaussian.assignment == FREE).any() for tensor in tensors)


def frontier_table(stops: Sequence[Stop]) -> Table:
    """Return a table with a row for each round."""
    title = "stop here: each round, clustered to 100 %"
    headings = ("round", "fixed\n%", "epochs", "top1\n%", "loss\nnats", "values", "bits per\nweight", "file\nMB")
    table = new_table(*headings, left=0, title=title)
    for one in stops:
        table.add_row(
            str(one.round),
            f"{100 * one.fraction:.1f}",
            f"{one.epochs:.2f}",
            f"{one.top1:.2f}",
            f"{one.loss:.4f}",
            f"{one.codebook_size:,}",
            f"{one.entropy_bits:.3f}",
            f"{one.file_mb:.3f}",
        )
    return table


def draw_frontier(stops: Sequence[Stop], path: Path) -> None:
    """Draw accuracy and size over the rounds, as a PNG."""
    figure = Figure(figsize=(8, 5.4), dpi=150, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    rounds, top1, size = [one.round for one in stops], [one.top1 for one in stops], [one.file_mb for one in stops]
    top.plot(rounds, top1, color=ORANGE, marker="o", markersize=5, linewidth=1.8)
    bottom.plot(rounds, size, color=GREEN, marker="o", markersize=5, linewidth=1.8)
    top.set_title("Top-1 accuracy of each round's network, clustered to 100 %", loc="left", fontsize=11, color=INK)
    bottom.set_title("Its compressed file, MB", loc="left", fontsize=11, color=INK)
    bottom.set_xlabel("round (share of weights that were fixed)")
    bottom.set_xticks(rounds, [f"{one.round}\n{100 * one.fraction:g} %" for one in stops], fontsize=8)
    middle, half = (max(top1) + min(top1)) / 2, max(0.65 * (max(top1) - min(top1)), 0.5)
    # less than a point would blow the noise of the test split up to a result
    top.set_ylim(middle - half, middle + half)
    bottom.set_ylim(0, 1.15 * max(size))
    for axes in (top, bottom):
        tidy(axes)
    save(figure, path)
