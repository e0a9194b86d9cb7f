"""Watch a network's linear maps while it runs: what weights are multiplied with, what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (F.conv1d, F.conv2d)


@dataclass(frozen=True)
class LinearCall:
    """Hold one call of a linear map or a convolution with a watched weight.

    Attributes:
        weight: which of the watched tensors it multiplies with.
        bias: which of them it adds; None for none of them.
        given: its input.
        returned: its output.
        kernel: the shape of its weight.
        options: stride, padding, dilation and groups of a convolution; None for a linear map.
    """

    weight: int
    bias: int | None
    given: Tensor
    returned: Tensor
    kernel: torch.Size
    options: dict[str, Any] | None

    @property
    def groups(self) -> int:
        """Count the groups of the map, each of which has inputs and outputs of its own."""
        return 1 if self.options is None else int(self.options["groups"])

    @property
    def positions(self) -> int:
        """Count the positions of an image at which it is applied."""
        return self.returned.numel() // (len(self.given) * self.kernel[0])

    def by_image(self, values: Tensor) -> Tensor:
        """Arrange values that belong to the outputs as [images, outputs, positions]."""
        if self.options is None:
            return values.reshape(len(values), -1, values.shape[-1]).mT
        return values.flatten(2)


@dataclass(frozen=True)
class NormCall:
    """Hold one call of a batch normalization.

    Attributes:
        given: its input.
        mean: the running mean, a buffer of the network; None where it keeps none.
        variance: the running variance.
        weight: what the normalized channels are multiplied with; None for 1.
        epsilon: added to the variance.
    """

    given: Tensor
    mean: Tensor | None
    variance: Tensor | None
    weight: Tensor | None
    epsilon: float


class LinearCalls(TorchFunctionMode):
    """Watch, inside this context, every linear map or convolution with a watched weight.

    A weight that is computed with before it is used, as standardized ones are, is not found.

    Args:
        weights: those watched; their places number them.
        on_call: is told each call, as it returns.
        on_norm: is told each batch normalization.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        on_call: Callable[[LinearCall], None],
        on_norm: Callable[[NormCall], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._number = {id(weight): number for number, weight in enumerate(weights)}
        self._on_call, self._on_norm = on_call, on_norm

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let everything happen as it would, and tell of the calls in question."""
        del types
        returned = func(*args, **(kwargs or {}))
        if func is F.batch_norm:
            self._on_norm(_norm_call(*args, **(kwargs or {})))
        if func is F.linear or func in CONVOLUTIONS:
            names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
            given = dict(zip(names, args, strict=False)) | (kwargs or {})
            weight = self._number.get(id(given["weight"]))
            if weight is not None:
                defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
                options = {name: given.get(name, default) for name, default in defaults.items()}
                self._on_call(
                    LinearCall(
                        weight,
                        self._number.get(id(given.get("bias"))),
                        given["input"],
                        returned,
                        given["weight"].shape,
                        None if func is F.linear else options,
                    )
                )
        return returned


def _norm_call(
    input: Tensor,  # the names are those of torch's function
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> NormCall:
    del bias, training, momentum
    return NormCall(input, running_mean, running_var, weight, eps)


@contextmanager
def evaluating(network: nn.Module, weights: Sequence[Tensor], *, gradients: bool) -> Iterator[None]:
    """Put the network into evaluation mode inside, with gradients of the weights or of nothing.

    Args:
        network: its modules get back the mode that each had.
        weights: parameters that require a gradient inside.
        gradients: whether autograd records.
    """
    modes = [(module, module.training) for module in network.modules()]
    required = [weight.requires_grad for weight in weights]
    network.eval()
    for weight in weights:
        weight.requires_grad_(True)
    try:
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        for weight, before in zip(weights, required, strict=True):
            weight.requires_grad_(before)
        for module, training in modes:
            module.training = training
