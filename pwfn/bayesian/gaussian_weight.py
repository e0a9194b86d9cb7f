"""Keep sigma, assignment and current draw of one tensor of weights, as a parametrization of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pwfn.bayesian.prior import MIN_SIGMA
from pwfn.tensor_version import tensor_version

FREE = -1  # assignment of a weight that is not fixed to a codebook entry


class Masks(NamedTuple):
    """Hold boolean masks of the means and sigmas that train, None where all of a tensor do."""

    mu: Tensor | None
    sigma: Tensor | None  # None also where the sigmas of fixed weights go on training

    @classmethod
    def read(cls, assignment: Tensor, retrain_sigma: Tensor, like: Tensor) -> Masks:
        """Read the masks off a `GaussianWeight`; the host waits for a GPU.

        Args:
            assignment: its assignments, in its shape or flat.
            retrain_sigma: whether the sigmas of fixed weights train (bool, no dimensions).
            like: a tensor of its shape; the masks lie where and as it does.

        Returns:
            Masks that are True where a mean or a sigma trains.
        """
        free = (assignment == FREE).view(like.shape)
        of_mu = None if bool(free.all()) else torch.empty_like(like, dtype=torch.bool, requires_grad=False).copy_(free)
        return cls(of_mu, None if bool(retrain_sigma) else of_mu)


class GaussianWeight(nn.Module):
    """Hold sigma, the assignment and the current draw of one tensor of weights.

    Attributes:
        sigma: the standard deviations, of the shape of the weights.
        assignment: the index in the codebook that each weight is fixed to, -1 where it is free (int32, same shape).
            It is saved with the state dict, but no buffer: only clustering reads it, so it stays on the CPU, where it
            takes no memory of a GPU, and DDP does not send it.
        flat_assignment: the same numbers in a row [weights]. The compiler copies what has four dimensions into another
            layout in every step, and masks read off a copy would be read anew.
        retrain_sigma: whether the sigmas of fixed weights go on training (bool, no dimensions).
    """

    sigma: nn.Parameter
    flat_assignment: Tensor
    retrain_sigma: Tensor

    def __init__(self, mu: Tensor, *, is_bias: bool) -> None:
        super().__init__()
        self.is_bias = is_bias
        self.sigma = nn.Parameter(torch.full_like(mu, MIN_SIGMA, requires_grad=False))
        self.assignment = _all_free(mu)
        self.register_state_dict_post_hook(_save_assignment)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_load_assignment)  # type: ignore[no-untyped-call]
        self.register_buffer("retrain_sigma", torch.zeros((), dtype=torch.bool, device=mu.device))
        self._draw: Tensor | None = None
        self._cached: tuple[Tensor, Tensor, tuple[int, int], Masks] | None = None  # what was read, and the masks

    @property
    def assignment(self) -> Tensor:
        """Return the assignments, which may be written in place or replaced."""
        return self._assignment

    @assignment.setter
    def assignment(self, given: Tensor) -> None:
        self._assignment = given.contiguous()
        self.flat_assignment = self._assignment.view(-1)

    def forward(self, mu: Tensor) -> Tensor:
        """Return the current draw, or the mean where nothing is drawn."""
        return mu if self._draw is None else self._draw

    def use(self, weights: Tensor | None) -> None:
        """Compute with these weights, or with the mean again (None)."""
        self.__dict__["_draw"] = weights  # past nn.Module's search for a parameter of that name

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Follow `to`, `cuda` and the like; torch 2.14 has no public name for what they all call."""
        self._cached = None  # the sigmas move, and masks left on the old device would keep its memory
        module: nn.Module = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        built_now = self._assignment.is_meta and not self.sigma.is_meta
        # in any case a new view: the compiler's masks are kept by it
        self.assignment = _all_free(self.sigma) if built_now else self._assignment
        return module

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._cached = None  # a copy counts its changes from another number on
        self.assignment = self._assignment  # copied apart, the view would not count with it

    @property
    def masks(self) -> Masks:
        """Return which weights and sigmas train.

        Assignments are read only when they have changed, so that a step does not wait for a GPU.
        """
        assignment, retrain = self._assignment, self.retrain_sigma
        versions = tensor_version(assignment), tensor_version(retrain)
        cached = self._cached
        if cached is None or cached[0] is not assignment or cached[1] is not retrain or cached[2] != versions:
            cached = self._cached = assignment, retrain, versions, Masks.read(assignment, retrain, self.sigma)
        return cached[3]

    @property
    def effective_sigma(self) -> Tensor:
        """Return the standard deviation that is sampled with, which is at least 2^-30 whatever `sigma` became."""
        return self.sigma.detach().clamp(min=MIN_SIGMA)


def _all_free(like: Tensor) -> Tensor:
    return torch.full(like.shape, FREE, dtype=torch.int32, device="meta" if like.is_meta else "cpu")


def _save_assignment(module: GaussianWeight, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    state[prefix + "assignment"] = module.assignment


def _load_assignment(
    module: GaussianWeight,
    state: dict[str, Any],
    prefix: str,
    metadata: dict[str, Any],
    strict: bool,
    missing: list[str],
    _unexpected: list[str],
    errors: list[str],
) -> None:
    """Do what torch does for a buffer; the entry is taken out of `state`, which is this module's own.

    torch 2.14 has no public name for `assign` of load_state_dict in a hook.
    """
    key, own = prefix + "assignment", module.assignment
    given = state.pop(key, None)
    if given is None:
        if strict:
            missing.append(key)
    elif not isinstance(given, Tensor) or given.shape != own.shape:
        errors.append(f"{key} must be a tensor of the shape {tuple(own.shape)}")
    elif metadata.get("assign_to_params_buffers", False):
        module.assignment = given.cpu()
    else:
        own.copy_(given)
