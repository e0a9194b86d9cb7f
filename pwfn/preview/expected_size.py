"""Predict how large a network would be on disk, by the receipt that a finished one gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pwfn.artifact.parts import plain_tensors
from pwfn.artifact.plain_form import PlainForm, stored_plain
from pwfn.artifact.receipt import index_bits, make_receipt, own_counts
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.bayesian.state_dict import plain_state
from pwfn.errors import RunError


@dataclass(frozen=True)
class ExpectedSize:
    """Hold the size of one network in megabytes (10^6 bytes).

    Attributes:
        fp32_mb: in float32.
        entropy_mb: with indices at their entropy.
        fixed_mb: with indices of `index_bits` each.
        index_bits: of an index of fixed width.
    """

    fp32_mb: float
    entropy_mb: float
    fixed_mb: float
    index_bits: int


def expected_size(
    counts: NDArray[np.int64], other_bytes: int, *, stored_bytes: int | None = None, per_tensor: bool = False
) -> ExpectedSize:
    """Predict the size of a network from how often each of its tensors uses each entry of the codebook.

    Args:
        counts: weights at each entry [tensors, entries + 1]; the last column counts weights that are still floats.
            Every weight is stored as the index of its entry; a free one as one more index, and its 32 bits besides.
        other_bytes: bytes of everything else in the network.
        stored_bytes: bytes of it in the file; None where it is stored unchanged.
        per_tensor: each tensor has a codebook and an entropy of its own; `index_bits` is that of the largest.

    Returns:
        The size of the whole network.
    """
    receipt = make_receipt(counts, rest=other_bytes, coded=0, zipped=None, plain=stored_bytes)
    entropy, fixed, bits = receipt.entropy_bound, receipt.fixed_width, index_bits(counts.sum(0))
    if per_tensor:
        assert receipt.tensor_entropy_bound is not None
        assert receipt.tensor_fixed_width is not None
        entropy, fixed = receipt.tensor_entropy_bound, receipt.tensor_fixed_width
        bits = max(index_bits(own_counts(row)) for row in counts)
    return ExpectedSize(receipt.float32 / 1e6, entropy / 1e6, fixed / 1e6, bits)


def symbol_counts(assignment: Tensor, sizes: Sequence[int], entries: int) -> NDArray[np.int64]:
    """Count how often each entry, and then a free weight, occurs in each tensor.

    Args:
        assignment: the entry of every weight [weights], -1 = free.
        sizes: weights of each tensor, in the order of `assignment`.
        entries: entries of the codebook.

    Returns:
        The counts [tensors, entries + 1].
    """
    rows = [torch.bincount(own + 1, minlength=entries + 1).roll(-1) for own in assignment.split(list(sizes))]
    return torch.stack(rows).cpu().numpy()


def other_bytes(network: nn.Module) -> int:
    """Sum the bytes of everything that a network stores beside its quantized weights.

    Tied tensors count once.

    Raises:
        RunError: the state dict of the model holds something that is no tensor.
    """
    quantized = {id(tensor.mu) for tensor in quantized_tensors(network)}
    try:
        state = plain_state(network)
    except ValueError as error:
        raise RunError(f"the size of this model cannot be predicted: {error}") from error
    rest = {id(t): t for t in state.values() if id(t) not in quantized and not is_lazy(t)}
    return sum(tensor.numel() * tensor.element_size() for tensor in rest.values())


def stored_bytes(network: nn.Module, form: PlainForm) -> int:
    """Count the bytes that the tensors of `other_bytes` take in a file of this form.

    Raises:
        ArtifactError: the network cannot have this form.
    """
    return stored_plain(*plain_tensors(network), form).bytes
