"""Take a network apart: the shared values, the weights as symbols, and the other tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pwfn.artifact.container import ArtifactError
from pwfn.artifact.header import MOST_ENTRIES, is_name
from pwfn.artifact.plain_form import FoldableNorm, foldable_norms
from pwfn.artifact.sections.coding import Ints, Symbols
from pwfn.bayesian.gaussian_weight import FREE, GaussianWeight
from pwfn.bayesian.posterior import is_selected
from pwfn.bayesian.state_dict import gaussians_by_mean, plain_state

Bits = NDArray[np.int32]  # float32 numbers by their bits, which tell -0.0 from 0.0
FEW, COMMON = 4096, 8  # up to so many values are all entries; of more, those that occur so often
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Book:
    """Number float32 values, ascending; the symbol after the last stands for every other number."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values[np.lexsort((values.view(np.int32) >= 0, values))]  # -0.0 before 0.0
        bits = self.values.view(np.int32)
        self._order = np.argsort(bits).astype(np.int32)
        self._sorted = bits[self._order]

    @property
    def escape(self) -> int:
        """Return the symbol of a number that is none of the values."""
        return len(self.values)

    def symbols(self, bits: Bits) -> Symbols:
        """Return the symbol of each number; exact, bit for bit."""
        if not len(self.values):
            return np.zeros(bits.shape, dtype=np.int32)
        place = np.minimum(np.searchsorted(self._sorted, bits), len(self._sorted) - 1)
        found: Symbols = np.where(self._sorted[place] == bits, self._order[place], np.int32(self.escape))
        return found

    @classmethod
    def common(cls, arrays: Iterable[Bits], most: int = MOST_ENTRIES) -> Book:
        """Take the values that many numbers share: all where they are few, else those that occur 8 times.

        Args:
            arrays: the numbers, in any shapes.
            most: upper bound for how many are taken.
        """
        values, counts = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)
        for array in arrays:
            new, new_counts = np.unique(array, return_counts=True)
            values, slot = np.unique(np.concatenate([values, new]), return_inverse=True)
            counts = np.bincount(slot, weights=np.concatenate([counts, new_counts])).astype(np.int64)
        if len(values) > min(FEW, most):
            often = counts >= COMMON
            values, counts = values[often], counts[often]
            keep = np.argsort(-counts, kind="stable")[: min(FEW, most)]
            values = values[keep]
        floats = values.view(np.float32)
        return cls(floats[np.isfinite(floats)])


@dataclass(frozen=True)
class Weights:
    """Hold one tensor of weights.

    Attributes:
        names: in the state dict of the ordinary model; several where it is tied.
        values: float32, in its shape.
        assignment: index of each weight in the codebook, -1 where it is free; None where the network is not Bayesian.
        sigma: float32, in its shape; None where the network is not Bayesian.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    assignment: Symbols | None = None
    sigma: NDArray[np.float32] | None = None

    @property
    def bits(self) -> Bits:
        """Return the numbers by their bits."""
        return self.values.view(np.int32)


@dataclass(frozen=True)
class Parts:
    """Hold a whole network, taken apart.

    Attributes:
        book: the shared values.
        weights: the tensors that are coded.
        plain: the others, with their names.
        norms: BatchNorms whose statistics could be folded.
        state: all tensors of the ordinary model's state dict, by name.
        table: from assignment (+ 1, so that free comes first) to symbol; None where nothing is assigned.
    """

    book: Book
    weights: Sequence[Weights]
    plain: Sequence[tuple[tuple[str, ...], Tensor]]
    norms: Sequence[FoldableNorm]
    state: dict[str, Tensor]
    table: Ints | None  # from assignment (+ 1, so that free comes first) to symbol

    def symbols(self, index: int) -> Symbols:
        """Return the symbols of one tensor, in its shape; that of free weights comes after the last entry.

        Raises:
            ArtifactError: a fixed weight is not its codebook entry.
        """
        one = self.weights[index]
        if self.table is None or one.assignment is None:
            return self.book.symbols(one.bits)
        symbols: Symbols = self.table.astype(np.int32)[one.assignment + 1]
        known = symbols < self.book.escape
        exact = self.book.values.view(np.int32)[np.where(known, symbols, 0)] == one.bits
        if not (exact | ~known).all():
            raise ArtifactError(f"{one.names[0]} has fixed weights that are not their codebook entry any more")
        return symbols


def take_apart(network: nn.Module, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Parts:
    """Take a network apart for coding; it stays as it is.

    Args:
        network: Bayesian, or an ordinary model. Of the latter the weights that `to_bayesian` would choose are coded,
            and the codebook is made of the values that they share.
        include: glob patterns over parameter names, as in `to_bayesian`; for an ordinary model only.
        exclude: likewise.

    Returns:
        Its tensors, on the CPU, and its codebook.

    Raises:
        ArtifactError: the network has nothing to code, or tensors that a file cannot hold.
    """
    state = storable_state(network)
    gaussians = gaussians_by_mean(network)
    selected = gaussians.keys() if gaussians else _selected(network, include, exclude)
    names: dict[int, list[str]] = {}
    for name, tensor in state.items():
        names.setdefault(id(tensor), []).append(name)
    tensors = {id(tensor): tensor for tensor in state.values()}
    weights = [_weights(tuple(names[key]), tensors[key], gaussians.get(key)) for key in tensors if key in selected]
    if not weights:
        raise ArtifactError("the model has no weights to code: no linear or convolution layer")
    plain = [(tuple(names[key]), _plain(names[key][0], tensors[key])) for key in tensors if key not in selected]
    book, table = _book(weights)
    return Parts(book, weights, plain, foldable_norms(network, plain), state, table)


def plain_tensors(network: nn.Module) -> tuple[list[tuple[tuple[str, ...], Tensor]], list[FoldableNorm]]:
    """Return a Bayesian network's tensors that are not coded, and the BatchNorms that could be folded."""
    state, gaussians = storable_state(network), gaussians_by_mean(network)
    names: dict[int, list[str]] = {}
    for name, tensor in state.items():
        names.setdefault(id(tensor), []).append(name)
    tensors = {id(tensor): tensor for tensor in state.values() if id(tensor) not in gaussians}
    plain = [(tuple(names[key]), _plain(names[key][0], tensor)) for key, tensor in tensors.items()]
    return plain, foldable_norms(network, plain)


def storable_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict without Gaussians; raise ArtifactError for an entry that a file cannot hold."""
    try:
        state = plain_state(network)
    except ValueError as error:
        raise ArtifactError(f"{error}: only tensors can be stored") from error
    for name in state:
        if not is_name(name):
            raise ArtifactError(f"{name!r} of the state dict cannot be stored: only tensors with a plain name can")
    return state


def _selected(network: nn.Module, include: tuple[str, ...], exclude: tuple[str, ...]) -> set[int]:
    return {
        id(parameter)
        for module_name, module in network.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if is_selected(module, name, f"{module_name}.{name}" if module_name else name, include, exclude)
    }


def _weights(names: tuple[str, ...], tensor: Tensor, gaussian: GaussianWeight | None) -> Weights:
    if tensor.dtype != torch.float32:
        raise ArtifactError(f"{names[0]} is {tensor.dtype}: weights must be float32 (call model.float() first)")
    if gaussian is None:
        return Weights(names, _numpy(tensor))
    return Weights(names, _numpy(tensor), _numpy(gaussian.assignment), _numpy(gaussian.sigma))


def _plain(name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype not in DTYPES.values():
        raise ArtifactError(f"{name} is {tensor.dtype}, which an artifact cannot hold")
    return tensor.detach().cpu().contiguous()


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().numpy()


def _book(weights: list[Weights]) -> tuple[Book, Ints | None]:
    """Make the codebook; for a clustered network also the table from each assignment to its symbol."""
    if not any(one.assignment is not None and (one.assignment != FREE).any() for one in weights):
        return Book.common(one.bits for one in weights), None
    size = 1 + max(int(one.assignment.max(initial=FREE)) for one in weights if one.assignment is not None)
    entries, used = np.zeros(size + 1, dtype=np.float32), np.zeros(size + 1, dtype=bool)
    for one in weights:
        assert one.assignment is not None
        entries[one.assignment + 1] = one.values  # those of free weights land at 0, where nobody looks
        used[one.assignment + 1] = True
    values, back = np.unique(entries[1:][used[1:]].view(np.int32), return_inverse=True)
    if len(values) > MOST_ENTRIES:
        raise ArtifactError(f"the codebook has {len(values)} values, an artifact can hold {MOST_ENTRIES}")
    book = Book(values.view(np.float32))
    table = np.full(size + 1, book.escape, dtype=np.int64)
    table[1:][used[1:]] = book.symbols(values)[back]
    return book, table
