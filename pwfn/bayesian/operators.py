"""Register the draw of a network's weights with torch.library: torch.compile keeps the step whole.

`pwfn::random_word` makes the key of the noise, `pwfn::draw` the weights, `pwfn::sigma_gradients` what backward needs.
Compiled code calls the same kernels as any other, with the same random numbers; nothing is traced inside of them.
Without the compiler `pwfn.bayesian.sampling.draw` takes their place, whose gradients DDP can send early.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pwfn.bayesian.gaussian_weight import GaussianWeight, Masks
from pwfn.bayesian.kernels import Gaussian, backend
from pwfn.bayesian.regularizer import LinearRegularizer, NoRegularizer
from pwfn.bayesian.sampling import as_key, random_word
from pwfn.tensor_version import tensor_version

# a CUDA graph would keep the key of the draw that it has recorded
_TAGS = (torch.Tag.cudagraph_unsafe,)
_masks = WeakTensorKeyDictionary()


def draw_in_graph(
    mus: Sequence[Tensor], gaussians: Sequence[GaussianWeight], linear: Sequence[tuple[float, float]]
) -> tuple[list[Tensor], Tensor]:
    """Draw every tensor of a network, as `pwfn.bayesian.sampling.draw` does with a fresh key.

    Args:
        mus: the means.
        gaussians: what has the sigmas of each.
        linear: strength and ceiling of each one's regularizer, as `Regularizer.linear`.

    Returns:
        The weights, and the sum of the regularizers' penalties (a scalar).
    """
    *weights, penalty = torch.ops.pwfn.draw(
        list(mus),
        [one.sigma for one in gaussians],
        [one.flat_assignment for one in gaussians],
        [one.retrain_sigma for one in gaussians],
        torch.ops.pwfn.random_word(),
        [strength for strength, _ in linear],
        [ceiling for _, ceiling in linear],
    )
    return weights, penalty


@torch.library.custom_op("pwfn::random_word", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _random_word() -> Tensor:
    return random_word()


@_random_word.register_fake
def _() -> Tensor:
    return torch.empty((), dtype=torch.int64)


@torch.library.custom_op("pwfn::draw", mutates_args=(), tags=_TAGS)
def _draw(
    mus: list[Tensor],
    sigmas: list[Tensor],
    assignments: list[Tensor],
    retrain: list[Tensor],
    word: Tensor,
    strengths: list[float],
    ceilings: list[float],
) -> list[Tensor]:
    gaussians = _gaussians(mus, sigmas, assignments, retrain, strengths, ceilings)
    weights, penalty = backend([*mus, *sigmas]).draw(gaussians, as_key(word))
    return [*starmap(_laid_out, zip(weights, mus, strict=True)), penalty]


@_draw.register_fake
def _(mus: list[Tensor], *_: Any) -> list[Tensor]:
    return [*map(torch.empty_like, mus), mus[0].new_empty(())]


@torch.library.custom_op("pwfn::sigma_gradients", mutates_args=(), tags=_TAGS)
def _sigma_gradients(
    grads: list[Tensor],
    scale: Tensor,
    sigmas: list[Tensor],
    assignments: list[Tensor],
    retrain: list[Tensor],
    word: Tensor,
    strengths: list[float],
    ceilings: list[float],
) -> list[Tensor]:
    gaussians = _gaussians(sigmas, sigmas, assignments, retrain, strengths, ceilings)  # means have no part in it
    made = backend(sigmas).sigma_gradients(gaussians, grads, scale, as_key(word))
    return list(starmap(_laid_out, zip(made, sigmas, strict=True)))


@_sigma_gradients.register_fake
def _(_grads: list[Tensor], _scale: Tensor, sigmas: list[Tensor], *_: Any) -> list[Tensor]:
    return list(map(torch.empty_like, sigmas))


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    del output  # torch gives both by name
    _, sigmas, assignments, retrain, word, *ctx.linear = inputs
    ctx.save_for_backward(*sigmas, *assignments, *retrain, word)


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    *of_weights, scale = grads
    *kept, word = ctx.saved_tensors
    count = len(of_weights)
    state = kept[:count], kept[count : 2 * count], kept[2 * count :]
    of_sigma = torch.ops.pwfn.sigma_gradients(of_weights, scale, *state, word, *ctx.linear)
    return of_weights, of_sigma, [None] * count, [None] * count, None, None, None


_draw.register_autograd(_backward, setup_context=_keep)


def _gaussians(
    mus: list[Tensor],
    sigmas: list[Tensor],
    assignments: list[Tensor],
    retrain: list[Tensor],
    strengths: list[float],
    ceilings: list[float],
) -> list[Gaussian]:
    linear = zip(strengths, ceilings, strict=True)
    rules = [LinearRegularizer(*one) if one[0] else NoRegularizer() for one in linear]
    masks = map(_masks_of, assignments, retrain, sigmas)
    rows = zip(mus, sigmas, masks, rules, strict=True)
    return [Gaussian(number, mu, sigma, *free, rule) for number, (mu, sigma, free, rule) in enumerate(rows)]


def _masks_of(assignment: Tensor, retrain: Tensor, sigma: Tensor) -> Masks:
    """Read the masks only when what they come from has changed, so that a step does not wait for a GPU."""
    state = retrain, tensor_version(assignment), tensor_version(retrain), sigma.device
    kept = _masks.get(assignment)
    if kept is None or kept[0][0] is not retrain or kept[0][1:] != state[1:]:
        kept = _masks[assignment] = state, Masks.read(assignment, retrain, sigma)
    masks: Masks = kept[1]
    return masks


def _laid_out(values: Tensor, like: Tensor) -> Tensor:
    """Return the values as `torch.empty_like` lies in memory, which is what the compiler was told."""
    expected = torch.empty_like(like)
    return values if values.stride() == expected.stride() else expected.copy_(values)
