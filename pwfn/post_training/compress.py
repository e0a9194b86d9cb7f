"""Compress any trained network in one call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from pwfn.artifact.parts import take_apart
from pwfn.artifact.receipt import Receipt
from pwfn.artifact.write import write
from pwfn.bayesian.posterior import is_lazy, is_selected
from pwfn.clustering.codebooks.codebook import Codebook, SignedPow2
from pwfn.clustering.second_order import SecondOrder
from pwfn.curvature import Watched
from pwfn.post_training.budget import Budget, Trial, find_rate
from pwfn.post_training.cluster_layers import Calibration, LayerClustering, Outcome, copied
from pwfn.post_training.value_tables import fitted_values, value_tables

Batches = Iterable[Any]  # images, or tuples or lists that begin with images and, where asked for, labels


@dataclass(frozen=True)
class CompressionReceipt:
    """Report what a compression did.

    Attributes:
        trial: the rate that was used, and what it gave.
        sizes: of the network in several forms.
        before: top1 of the given network on the test images, percent; None without any.
        after: that of the compressed one.
        rounded: the weights that no curvature is known of, which went to their nearest values.
        tries: all rates that were tried.
    """

    trial: Trial
    sizes: Receipt
    before: float | None
    after: float | None
    rounded: tuple[str, ...]
    tries: tuple[Trial, ...]

    def __str__(self) -> str:
        lines = [self.trial.line(), f"{self.sizes.codebook} values shared by {self.sizes.weights:,} weights"]
        if self.before is not None and self.after is not None:
            lines.append(f"top1 on the test images {self.before:.2f} -> {self.after:.2f} %")
        if self.rounded:
            lines.append(f"rounded, because no linear map uses them as they are: {', '.join(self.rounded)}")
        return "\n".join(lines)


def compress(
    model: nn.Module,
    calibration_loader: Batches,
    test_loader: Batches | None = None,
    *,
    budget: Budget | None = None,
    validation_loader: Batches | None = None,
    codebook: Codebook | None = None,
    rule: SecondOrder | None = None,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    say: Callable[[str], None] = print,
) -> tuple[nn.Module, CompressionReceipt]:
    """Compress a trained network without training it again.

    Args:
        model: maps images to logits [batch, classes]; it is left as it is.
        calibration_loader: batches of images like those of its training; labels are not looked at.
        test_loader: batches of images and labels, to measure with; nothing is chosen by them.
        budget: what the compressed network may cost; None: the rate of `rule` is used.
        validation_loader: batches of images and labels that are not for testing, for a budget of accuracy.
        codebook: the values; None: `pwfn.clustering.SignedPow2()`.
        rule: how curvature is estimated, and the rate to begin with.
        include: glob patterns of further parameters to compress, as in `pwfn.bayesian.to_bayesian`.
        exclude: glob patterns of parameters not to compress.
        say: is given a line for each rate that is tried.

    Returns:
        A compressed copy in evaluation mode, and what it costs.

    Raises:
        ValueError: there is nothing to compress, fewer than two images, or no network within the budget.
    """
    rule, budget = rule or SecondOrder(), budget or Budget()
    job = _Job(model, codebook or SignedPow2(), rule, (include, exclude), _images(calibration_loader, rule.images))
    trial, tries = _search(job, rule.rate, budget, validation_loader, say)
    tested = None if test_loader is None else list(test_loader)
    before, after = (None if tested is None else _top1(one, tested) for one in (model, job.network))
    return job.network, CompressionReceipt(trial, job.sizes, before, after, job.rounded, tries)


class _Job:
    """Cluster copies of one network at several rates."""

    network: nn.Module  # the last one
    sizes: Receipt
    rounded: tuple[str, ...]

    def __init__(
        self,
        model: nn.Module,
        codebook: Codebook,
        rule: SecondOrder,
        patterns: tuple[tuple[str, ...], tuple[str, ...]],
        images: Tensor,
    ) -> None:
        self.model = model
        self._names = selected_names(model, *patterns)
        parameters = dict(model.named_parameters())
        self._original = Watched(model, [parameters[name] for name in self._names])
        self._rule, self._patterns = rule, patterns
        self._calibration = Calibration.of(images)
        weights = torch.cat([weight.detach().flatten().float().cpu() for weight in self._original.weights])
        values = fitted_values(codebook, weights, [weight.numel() for weight in self._original.weights])
        device = self._original.weights[0].device
        self._tables = [table.to(device) for table in value_tables(values, weights, len(self._names))]

    def trial(self, rate: float) -> Trial:
        """Cluster a fresh copy, and measure it."""
        watched = copied(self._original)
        clustering = LayerClustering(
            watched,
            self._tables,
            replace(self._rule, rate=rate),
            self._calibration,
            reference=self._original,
        )
        outcome = clustering.run()
        self.network = watched.network.eval()
        self._measure(outcome)
        assert self.sizes.file is not None
        return Trial(rate, self.sizes.file / 1e6, self.sizes.file_bits, outcome.divergence)

    def _measure(self, outcome: Outcome) -> None:
        self.rounded = tuple(self._names[number] for number in outcome.no_layer)
        on_cpu = copy.deepcopy(self.network).cpu()
        with TemporaryDirectory() as folder:
            self.sizes = write(Path(folder) / "trial.pwfn", take_apart(on_cpu, *self._patterns), None, {})


def _search(
    job: _Job, rate: float, budget: Budget, validation_loader: Batches | None, say: Callable[[str], None]
) -> tuple[Trial, tuple[Trial, ...]]:
    """Find the rate of a budget, and leave the job with that network; return its trial and all trials."""
    known = None if validation_loader is None else list(validation_loader)
    if budget.drop is not None and known is None:
        raise ValueError("budget.drop is judged on validation images: give validation_loader")
    top1 = None if known is None else _top1(job.model, known)
    tries: list[Trial] = []

    def attempt(rate: float) -> Trial:
        trial = job.trial(rate)
        if known is not None and top1 is not None:
            trial = replace(trial, drop=top1 - _top1(job.network, known))
        tries.append(trial)
        say(trial.line())
        return trial

    trial = find_rate(budget, rate, attempt) if budget.wanted else attempt(rate)
    if trial.rate != tries[-1].rate:
        job.trial(trial.rate)
    return trial, tuple(tries)


def selected_names(model: nn.Module, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    """Return the parameters to compress, tied ones once, as `pwfn.bayesian.to_bayesian` chooses them.

    Args:
        model: an ordinary network.
        include: glob patterns of further parameters.
        exclude: glob patterns of parameters to leave out, which win.

    Raises:
        ValueError: there are none.
    """
    names: dict[int, str] = {}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            whole = f"{module_name}.{name}" if module_name else name
            if not is_lazy(parameter) and is_selected(module, name, whole, include, exclude):
                names.setdefault(id(parameter), whole)
    if not names:
        raise ValueError("the network has no linear or convolution layer, and no pattern chose anything to compress")
    return list(names.values())


def _images(batches: Batches, count: int) -> Tensor:
    """Take up to `count` images from a loader."""
    found: list[Tensor] = []
    for batch in batches:
        images = _parts(batch)[0]
        found.append(images[: count - sum(map(len, found))])
        if sum(map(len, found)) >= count:
            break
    if not found:
        raise ValueError("the calibration loader has no batch")
    return torch.cat(found)


def _parts(batch: Any) -> Sequence[Tensor]:
    """Return images, and what comes with them."""
    if isinstance(batch, Tensor):
        return [batch]
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, Sequence) and batch and isinstance(batch[0], Tensor):
        return batch
    raise ValueError(f"a batch must be images, or begin with images; this one is a {type(batch).__name__}")


@torch.no_grad()
def _top1(model: nn.Module, batches: Iterable[Any]) -> float:
    """Return the share of right answers, in percent."""
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    right = count = 0
    try:
        for batch in batches:
            images, labels, *_ = _parts(batch)
            right += int((model(images.to(device)).argmax(1).cpu() == labels.cpu()).sum())
            count += len(images)
    finally:
        for module, training in modes:
            module.training = training
    if not count:
        raise ValueError("there are no images to measure with")
    return 100 * right / count
