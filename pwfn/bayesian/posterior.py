"""The Bayesian network: a mean and a learned standard deviation for every quantized weight.

`to_bayesian(model)` puts a `GaussianWeight` parametrization on the weights of linear and convolution layers, whatever
their subclass. The plain parameter becomes the mean mu and the network computes with it exactly as before; inside
`with sampled(model):` every weight is one draw from N(mu, sigma^2). `to_deterministic(model)` is the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from pwfn.bayesian.prior import MIN_SIGMA, Prior
from pwfn.bayesian.regularizer import NoRegularizer, Regularizer
from pwfn.bayesian.sampling import Noise, OnlyFree, Source, draw

FREE = -1  # assignment of a weight that is not fixed to a codebook entry
QUANTISED_TYPES: tuple[type[nn.Module], ...] = (nn.Linear, nn.modules.conv._ConvNd)
QUANTISED_NAMES = ("weight", "bias")


class Masks(NamedTuple):
    """Boolean masks of what is not fixed and trains: None while everything does."""

    mu: Tensor | None
    sigma: Tensor | None  # None also where the sigmas of fixed weights are to go on training


class GaussianWeight(nn.Module):
    """Sigma, the fixed assignment, and the current draw of one tensor of weights.

    `sigma` has the shape of the weights. `assignment` (int32 buffer, same shape) holds the codebook index each weight is
    fixed to, -1 = free. `retrain_sigma` is a buffer too: whether the sigmas of fixed weights go on training.
    """

    sigma: nn.Parameter
    assignment: Tensor
    retrain_sigma: Tensor

    def __init__(self, mu: Tensor, *, is_bias: bool) -> None:
        super().__init__()
        self.is_bias = is_bias
        self.sigma = nn.Parameter(torch.full_like(mu, MIN_SIGMA, requires_grad=False))
        self.register_buffer("assignment", torch.full_like(mu, FREE, dtype=torch.int32, requires_grad=False))
        self.register_buffer("retrain_sigma", torch.zeros((), dtype=torch.bool, device=mu.device))
        self._draw: Tensor | None = None
        self._read: tuple[Tensor, Tensor, tuple[int, int], Masks] | None = None  # the buffers, and what they said

    def forward(self, mu: Tensor) -> Tensor:
        return mu if self._draw is None else self._draw

    def use(self, weights: Tensor | None) -> None:
        """Compute with these weights; None: with the mean again."""
        self.__dict__["_draw"] = weights  # past nn.Module's search for a parameter of that name

    @property
    def masks(self) -> Masks:
        """Which weights and sigmas train, read off the buffers only when these have changed: a GPU is not waited for."""
        assignment, retrain = self.assignment, self.retrain_sigma
        versions = assignment._version, retrain._version
        read = self._read
        if read is None or read[0] is not assignment or read[1] is not retrain or read[2] != versions:
            free = assignment == FREE
            of_mu = None if bool(free.all()) else free
            read = self._read = assignment, retrain, versions, Masks(of_mu, None if bool(retrain) else of_mu)
        return read[3]

    @property
    def effective_sigma(self) -> Tensor:
        """The standard deviation that is sampled with: at least 2^-30, however small or negative `sigma` became."""
        return self.sigma.detach().clamp(min=MIN_SIGMA)


@dataclass(frozen=True)
class QuantizedTensor:
    """One tensor of weights: `name` as in the plain model's state dict, its mean and its Gaussian."""

    name: str
    mu: nn.Parameter
    gaussian: GaussianWeight


def to_bayesian(
    model: nn.Module, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> list[QuantizedTensor]:
    """Turn `model`, in place, into a Bayesian network that computes the same; sigma starts at 2^-30.

    Quantized are weight and bias of every linear and convolution layer, and every parameter whose name matches a glob
    pattern of `include` (`*.norm*.weight`), but none that matches one of `exclude`, and none of a lazy module that has no
    shape yet. Tied parameters share one Gaussian.
    Raises ValueError for a pattern that matches no parameter, for a model that is Bayesian already, and for nothing to
    quantize.
    """
    if quantized_tensors(model):
        raise ValueError("the model is Bayesian already")
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    for pattern in (*include, *exclude):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"the pattern {pattern!r} matches no parameter of the model")
    gaussians: dict[int, GaussianWeight] = {}
    for module_name, module in list(model.named_modules()):
        for tensor_name, parameter in list(module._parameters.items()):
            name = f"{module_name}.{tensor_name}" if module_name else tensor_name
            if parameter is None or is_lazy(parameter) or not is_selected(module, tensor_name, name, include, exclude):
                continue
            gaussian = gaussians.get(id(parameter))
            if gaussian is None:
                gaussian = gaussians[id(parameter)] = GaussianWeight(parameter, is_bias=tensor_name == "bias")
            parametrize.register_parametrization(module, tensor_name, gaussian, unsafe=True)
    if not gaussians:
        raise ValueError("the model has no linear or convolution layer, and no pattern chose anything to quantize")
    return quantized_tensors(model)


def is_lazy(parameter: nn.Parameter) -> bool:
    """Whether a parameter has no shape before its module's first forward pass."""
    return isinstance(parameter, UninitializedParameter)


def is_selected(
    module: nn.Module, tensor_name: str, name: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> bool:
    """Whether the parameter `tensor_name` of `module`, called `name` in the model, is to be quantized."""
    by_type = isinstance(module, QUANTISED_TYPES) and tensor_name in QUANTISED_NAMES
    return (by_type or _matches(name, include)) and not _matches(name, exclude)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def to_deterministic(model: nn.Module) -> nn.Module:
    """Take every Gaussian off `model`, in place: what stays is the plain model with its weights at the mean."""
    for module, tensor_name, *_ in list(_parametrized(model)):
        parametrize.remove_parametrizations(module, tensor_name, leave_parametrized=False)
    return model


def quantized_tensors(model: nn.Module) -> list[QuantizedTensor]:
    """The quantized tensors in the order of the model's modules, tied ones once (under their first name)."""
    seen: dict[int, QuantizedTensor] = {}
    for _, _, name, mu, gaussian in _parametrized(model):
        seen.setdefault(id(gaussian), QuantizedTensor(name, mu, gaussian))
    return list(seen.values())


def quantized_convolutions(model: nn.Module) -> Iterator[tuple[str, nn.modules.conv._ConvNd, nn.Parameter]]:
    """The convolutions with a quantized weight: its name in `quantized_tensors`, the module, the weight's mean."""
    names = {id(tensor.mu): tensor.name for tensor in quantized_tensors(model)}
    for module, tensor_name, _, mu, _ in _parametrized(model):
        if isinstance(module, nn.modules.conv._ConvNd) and tensor_name == "weight":
            yield names[id(mu)], module, mu


def _parametrized(model: nn.Module) -> Iterator[tuple[nn.Module, str, str, nn.Parameter, GaussianWeight]]:
    """Module, the parameter's name in it and in the model, mean and Gaussian; read twice in a step, so by short ways."""
    for module_name, module in model.named_modules():
        lists = module._modules.get("parametrizations")
        for tensor_name, plist in lists._modules.items() if lists is not None else ():
            gaussian = plist._modules.get("0") if plist is not None else None
            if plist is not None and isinstance(gaussian, GaussianWeight):
                mu = cast(nn.Parameter, plist._parameters["original"])
                yield module, tensor_name, f"{module_name}.{tensor_name}" if module_name else tensor_name, mu, gaussian


def set_sigma(model: nn.Module, prior: Prior) -> None:
    """Start every sigma from the prior of its tensor's current mean."""
    with torch.no_grad():
        for tensor in quantized_tensors(model):
            tensor.gaussian.sigma.copy_(prior(tensor.mu))


@contextmanager
def sampled(model: nn.Module, regularizer: Regularizer | None = None) -> Iterator[Tensor]:
    """Inside the block every quantized weight is one draw, however often and by however many modules it is read.

    Yields the regularizer's penalty (a scalar to add to the loss, in the graph). Noise comes from torch's global
    generator. Backward reaches mu and sigma of free weights only (of fixed ones sigma where it is to retrain).
    """
    tensors = quantized_tensors(model)
    rule = regularizer or NoRegularizer()
    sources = [
        Source(
            t.mu,
            t.gaussian.sigma,
            *t.gaussian.masks,
            NoRegularizer() if t.gaussian.is_bias else rule,
        )
        for t in tensors
    ]
    weights, penalty = draw(sources, Noise.fresh(tensor.mu for tensor in tensors))
    try:
        for tensor, weight in zip(tensors, weights, strict=True):
            tensor.gaussian.use(weight)
        yield penalty
    finally:
        for tensor in tensors:
            tensor.gaussian.use(None)


@contextmanager
def replaced(model: nn.Module, weights: Callable[[QuantizedTensor], Tensor]) -> Iterator[None]:
    """Inside the block every quantized tensor is what `weights` makes of it, asked once, in the order of the tensors."""
    tensors = quantized_tensors(model)
    try:
        for tensor in tensors:
            tensor.gaussian.use(weights(tensor))
        yield
    finally:
        for tensor in tensors:
            tensor.gaussian.use(None)


@contextmanager
def at_mean(model: nn.Module) -> Iterator[Tensor]:
    """Inside the block weights are at their mean, and backward reaches mu of free weights only. Yields a zero penalty."""
    tensors = quantized_tensors(model)
    try:
        for tensor in tensors:
            tensor.gaussian.use(OnlyFree.apply(tensor.mu, tensor.gaussian.masks.mu))
        yield tensors[0].mu.new_zeros(())
    finally:
        for tensor in tensors:
            tensor.gaussian.use(None)
