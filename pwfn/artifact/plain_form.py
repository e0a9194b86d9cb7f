"""Choose how a file holds the tensors that are not coded: norms, biases, BatchNorm's statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pwfn.artifact.container import ArtifactError

PlainForm = Literal["exact", "float16", "folded", "folded_float16"]
FORMS: tuple[str, ...] = get_args(PlainForm)
TOLERANCE = 2.0**-22  # of scale and shift: two roundings of float32, 2^-24 each, with room to spare
LEAST = 2.0**-149  # the smallest float32 above 0, below which nothing can be told apart
Named = tuple[tuple[str, ...], Tensor]  # a tensor and its names in the state dict


@dataclass(frozen=True)
class FoldableNorm:
    """Name the vectors of a BatchNorm whose statistics its scale (`weight`) and bias can take.

    A loaded network has the mean 0 and the variance `neutral` instead, with which the layer multiplies by `weight` and
    adds `bias`. `eps`, below 1, is what the layer adds to the variance.
    """

    weight: str
    bias: str
    mean: str
    variance: str
    eps: float

    @property
    def neutral(self) -> float:
        """Return the float32 number next to 1 - eps."""
        return float(torch.tensor(1 - self.eps, dtype=torch.float32))


@dataclass(frozen=True)
class FilledVector:
    """Hold a vector of the state dict as one number, which all its elements are."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class PlainTensors:
    """Hold the tensors that are not coded as a file has them, and what that changes.

    Attributes:
        form: one of `FORMS`.
        stored: tensors in the dtype of the file.
        filled: vectors of one number.
        before: bytes of all tensors in the network.
        folded: how many BatchNorms were folded now; one that was folded before stays as it is.
        fold_error: largest relative error of a scale or a shift by folding; see `folded_pair`.
        changed: how many float32 values float16 changed.
        change: largest relative change of one of them; 1 where a tiny one became 0.
        where: the tensor and the value of that change.
    """

    form: PlainForm
    stored: tuple[Named, ...]
    filled: tuple[FilledVector, ...]
    before: int
    folded: int = 0
    fold_error: float = 0.0
    changed: int = 0
    change: float = 0.0
    where: str = ""

    @property
    def bytes(self) -> int:
        """Return the bytes in the file."""
        return _bytes(self.stored)

    @property
    def largest_change(self) -> float:
        """Return the larger of `fold_error` and `change`."""
        return max(self.fold_error, self.change)

    @property
    def same(self) -> bool:
        """Tell whether the network that is loaded from the file is the one at hand, bit for bit."""
        return not self.folded and not self.changed

    def loaded(self) -> Iterator[Named]:
        """Yield the tensors as a network has them that is loaded from the file."""
        yield from self.stored
        for one in self.filled:
            yield one.names, torch.full(one.shape, one.value)

    def line(self) -> str:
        """Say in one line what is stored and what it changes."""
        phrases = [f"norms and biases take {self.bytes / 1e3:.1f} of {self.before / 1e3:.1f} kB"]
        if self.folded:
            phrases.append(f"{self.folded} BatchNorms folded, scale and shift right to {self.fold_error:.1e}")
        if self.changed:
            phrases.append(
                f"{self.changed:,} values rounded to float16, by at most {self.change:.1e} of it ({self.where})"
            )
        return f"{self.form}: {'; '.join(phrases)}"


def foldable_norms(network: nn.Module, tensors: Sequence[Named]) -> list[FoldableNorm]:
    """Return the BatchNorms whose four vectors are all in `tensors`, float32 and of no other module."""
    names = {name: names for names, tensor in tensors if tensor.dtype == torch.float32 for name in names}
    found = []
    for path, module in network.named_modules():
        if not isinstance(module, _BatchNorm) or not module.eps < 1:
            continue
        prefix = f"{path}." if path else ""
        own = [prefix + name for name in ("weight", "bias", "running_mean", "running_var")]
        if all(name in names for name in own):
            places = {frozenset(name.rpartition(".")[0] for name in names[key]) for key in own}
            if len(places) == 1:
                first = [names[key][0] for key in own]
                found.append(FoldableNorm(first[0], first[1], first[2], first[3], module.eps))
    return found


def stored_plain(tensors: Sequence[Named], norms: Sequence[FoldableNorm], form: PlainForm) -> PlainTensors:
    """Bring the tensors that are not coded into the form of a file; they stay as they are.

    Args:
        tensors: on the CPU, with their names.
        norms: `foldable_norms` of the network.
        form: `exact`; `float16` for float32 tensors; `folded`, which puts BatchNorm's running mean and variance into
            its scale and bias; `folded_float16` for both, in this order.

    Returns:
        The tensors as the file has them.

    Raises:
        ArtifactError: there is nothing to fold, or a value that cannot be folded or float16 cannot hold.
    """
    if form not in FORMS:
        raise ArtifactError(f"plain = {form!r}: must be one of {', '.join(FORMS)}")
    before = _bytes(tensors)
    result = PlainTensors(form, tuple(tensors), (), before)
    if "folded" in form:
        require_norms(norms, form)
        result = _folded(result, norms)
    return _in_float16(result) if "float16" in form else result


def require_norms(norms: Sequence[FoldableNorm], form: PlainForm) -> None:
    """Raise ArtifactError if there is nothing to fold."""
    if not norms and "folded" in form:
        other = "float16" if "float16" in form else "exact"
        raise ArtifactError(
            f"plain = {form!r}: the network has no BatchNorm with statistics, scale and bias to fold; use {other!r}"
        )


def folded_pair(vectors: Mapping[str, Tensor], norm: FoldableNorm, form: PlainForm) -> tuple[Tensor, Tensor, float]:
    """Fold mean and variance into scale and bias: w' = w / sqrt(v + eps), b' = b - m w'.

    Args:
        vectors: the tensors of the network by name, float32.
        norm: which of them are folded.
        form: for the message.

    Returns:
        w' and b' in float32, and their largest error: that of w' relative to it, that of b' to |b| + |m w'|.

    Raises:
        ArtifactError: the error is above `TOLERANCE`, or a value is not finite.
    """
    weight, bias, mean, variance = (vectors[name].double() for name in _vectors(norm))
    scale = weight / (variance + norm.eps).sqrt()
    shift = bias - mean * scale
    new_weight, new_bias = scale.float(), shift.float()
    loaded = new_weight.double() / math.sqrt(norm.neutral + norm.eps)
    wrong_scale = ((loaded - scale).abs() - LEAST).clamp(min=0) / scale.abs().clamp(min=LEAST)
    size = (bias.abs() + (mean * scale).abs()).clamp(min=LEAST)
    wrong_shift = ((new_bias.double() - shift).abs() - LEAST).clamp(min=0) / size
    error = float(torch.cat([wrong_scale, wrong_shift]).max()) if scale.numel() else 0.0
    if not error <= TOLERANCE or not all(bool(vectors[name].isfinite().all()) for name in _vectors(norm)):
        raise ArtifactError(
            f"plain = {form!r}: {norm.variance} cannot be folded into {norm.weight} in float32; use 'exact'"
        )
    return new_weight, new_bias, error


def _vectors(norm: FoldableNorm) -> tuple[str, str, str, str]:
    return norm.weight, norm.bias, norm.mean, norm.variance


def _folded(given: PlainTensors, norms: Sequence[FoldableNorm]) -> PlainTensors:
    vectors = {names[0]: tensor for names, tensor in given.stored}
    values = {name: value for norm in norms for name, value in ((norm.mean, 0.0), (norm.variance, norm.neutral))}
    new, errors = {}, []
    for norm in norms:
        if any((vectors[name] != values[name]).any() for name in (norm.mean, norm.variance)):
            new[norm.weight], new[norm.bias], error = folded_pair(vectors, norm, given.form)
            errors.append(error)
    return PlainTensors(
        given.form,
        tuple((names, new.get(names[0], tensor)) for names, tensor in given.stored if names[0] not in values),
        tuple(FilledVector(n, tuple(t.shape), values[n[0]]) for n, t in given.stored if n[0] in values),
        given.before,
        folded=len(errors),
        fold_error=max(errors, default=0.0),
    )


def _in_float16(given: PlainTensors) -> PlainTensors:
    stored, changed, change, where = [], 0, 0.0, ""
    for names, tensor in given.stored:
        if tensor.dtype != torch.float32:
            stored.append((names, tensor))
            continue
        half = tensor.half()
        if not half.isfinite().all():
            worst = float(tensor[~half.isfinite()].flatten()[0])
            most, other = torch.finfo(torch.float16).max, given.form.replace("float16", "").strip("_") or "exact"
            raise ArtifactError(
                f"plain = {given.form!r}: {names[0]} has the value {worst:g}, float16 holds at most {most:.0f}; "
                f"use {other!r}"
            )
        stored.append((names, half))
        moved = (half.float() - tensor).abs()
        changed += int(moved.count_nonzero())
        relative = (moved / tensor.abs().clamp(min=LEAST)).flatten()
        if relative.numel() and relative.max() > change:
            change, where = float(relative.max()), f"{names[0]}, {float(tensor.flatten()[relative.argmax()]):.3g}"
    return PlainTensors(
        given.form, tuple(stored), given.filled, given.before, given.folded, given.fold_error, changed, change, where
    )


def _bytes(tensors: Sequence[Named]) -> int:
    return sum(tensor.numel() * tensor.element_size() for _, tensor in tensors)
