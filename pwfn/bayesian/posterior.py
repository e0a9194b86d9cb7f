"""Give every quantized weight of a model a mean and a learned standard deviation.

`to_bayesian(model)` puts a `GaussianWeight` parametrization on the weights of linear and convolution layers, whatever
their subclass. The parameter becomes the mean mu and the network computes with it exactly as before; inside
`with sampled(model):` every weight is one draw from N(mu, sigma^2). `to_deterministic(model)` is the way back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from pwfn.bayesian.gaussian_weight import GaussianWeight
from pwfn.bayesian.kernels import Gaussian
from pwfn.bayesian.operators import draw_in_graph
from pwfn.bayesian.prior import Prior
from pwfn.bayesian.regularizer import NoRegularizer, Regularizer
from pwfn.bayesian.sampling import draw, fresh_key

QUANTIZED_TYPES: tuple[type[nn.Module], ...] = (nn.Linear, nn.modules.conv._ConvNd)
QUANTIZED_NAMES = ("weight", "bias")


@dataclass(frozen=True)
class QuantizedTensor:
    """Name one tensor of weights.

    Attributes:
        name: in the state dict of the original model; the first one of a tied tensor.
        mu: the means, which are the parameter of the original model.
        gaussian: sigma and assignment, of the shape of `mu`.
    """

    name: str
    mu: nn.Parameter = field(compare=False)  # the Gaussian tells them apart; two tensors have no single truth value
    gaussian: GaussianWeight


def to_bayesian(
    model: nn.Module, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> list[QuantizedTensor]:
    """Turn `model`, in place, into a Bayesian network that computes the same; sigma starts at 2^-30.

    Weight and bias of every linear and convolution layer are quantized. Tied parameters share one Gaussian; a lazy
    module that has no shape yet is left as it is.

    Args:
        model: an ordinary network.
        include: glob patterns of further parameters to quantize (`*.norm*.weight`).
        exclude: glob patterns of parameters not to quantize; they win over `include`.

    Returns:
        The quantized tensors, as `quantized_tensors` does.

    Raises:
        ValueError: a pattern matches no parameter, the model is Bayesian already, or there is nothing to quantize.
    """
    if quantized_tensors(model):
        raise ValueError("the model is Bayesian already")
    _refuse_patterns_without_match(model, (*include, *exclude))
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


def _refuse_patterns_without_match(model: nn.Module, patterns: tuple[str, ...]) -> None:
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"the pattern {pattern!r} matches no parameter of the model")


def is_lazy(parameter: nn.Parameter) -> bool:
    """Return whether a parameter has no shape before its module's first forward pass."""
    return isinstance(parameter, UninitializedParameter)


def is_selected(
    module: nn.Module, tensor_name: str, name: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> bool:
    """Return whether a parameter is to be quantized.

    Args:
        module: the module that holds it.
        tensor_name: its name in the module.
        name: its name in the model.
        include: glob patterns, as in `to_bayesian`.
        exclude: glob patterns, as in `to_bayesian`.
    """
    by_type = isinstance(module, QUANTIZED_TYPES) and tensor_name in QUANTIZED_NAMES
    return (by_type or _matches(name, include)) and not _matches(name, exclude)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def to_deterministic(model: nn.Module) -> nn.Module:
    """Take every Gaussian off `model`, in place, and return it with its weights at the mean."""
    for module, tensor_name, *_ in list(_parametrized(model)):
        parametrize.remove_parametrizations(module, tensor_name, leave_parametrized=False)
    return model


def quantized_tensors(model: nn.Module) -> list[QuantizedTensor]:
    """Return the quantized tensors in the order of the modules, tied ones once, under their first name."""
    seen: dict[int, QuantizedTensor] = {}
    for _, _, name, mu, gaussian in _parametrized(model):
        seen.setdefault(id(gaussian), QuantizedTensor(name, mu, gaussian))
    return list(seen.values())


def quantized_convolutions(model: nn.Module) -> Iterator[tuple[str, nn.modules.conv._ConvNd, nn.Parameter]]:
    """Yield each convolution with a quantized weight: the weight's name, the module, the weight's mean."""
    names = {id(tensor.mu): tensor.name for tensor in quantized_tensors(model)}
    for module, tensor_name, _, mu, _ in _parametrized(model):
        if isinstance(module, nn.modules.conv._ConvNd) and tensor_name == "weight":
            yield names[id(mu)], module, mu


def _parametrized(model: nn.Module) -> Iterator[tuple[nn.Module, str, str, nn.Parameter, GaussianWeight]]:
    """Yield module, the parameter's name in it and in the model, mean and Gaussian.

    It is read twice in a step, therefore without torch's slower accessors.
    """
    for module_name, module in model.named_modules():
        lists = module._modules.get("parametrizations")
        for tensor_name, plist in lists._modules.items() if lists is not None else ():
            gaussian = plist._modules.get("0") if plist is not None else None
            if plist is not None and isinstance(gaussian, GaussianWeight):
                mu = cast(nn.Parameter, plist._parameters["original"])
                yield module, tensor_name, f"{module_name}.{tensor_name}" if module_name else tensor_name, mu, gaussian


def set_sigma(model: nn.Module, prior: Prior) -> None:
    """Set every sigma to what the prior gives for its tensor's current mean."""
    with torch.no_grad():
        for tensor in quantized_tensors(model):
            tensor.gaussian.sigma.copy_(prior(tensor.mu))


@contextmanager
def sampled(model: nn.Module, regularizer: Regularizer | None = None) -> Iterator[Tensor]:
    """Make every quantized weight one draw inside the block, however many modules read it.

    Backward reaches every mu, fixed or not (`pwfn.training.before_step` masks what an optimizer sees), the sigma of
    free weights, and that of fixed ones where it is to retrain.

    Args:
        model: a Bayesian network.
        regularizer: acts on the sigmas of all tensors but biases; None for none.

    Yields:
        The regularizer's penalty (a scalar to add to the loss, in the graph).
    """
    tensors = quantized_tensors(model)
    rule = regularizer or NoRegularizer()
    in_graph = torch.compiler.is_compiling() and rule.linear is not None
    weights, penalty = (_drawn_in_graph if in_graph else _drawn)(tensors, rule)
    with _in_use(tensors, weights):
        yield penalty


def _drawn(tensors: list[QuantizedTensor], rule: Regularizer) -> tuple[list[Tensor], Tensor]:
    # where a graph breaks, torch.compile would trace Numba's compiler, and fail; to load it takes seconds
    draws: Callable[..., tuple[list[Tensor], Tensor]] = _untraced() if "torch._dynamo" in sys.modules else _draw
    return draws(tensors, rule)


@cache
def _untraced() -> Any:
    return torch.compiler.disable(_draw)


def _draw(tensors: list[QuantizedTensor], rule: Regularizer) -> tuple[list[Tensor], Tensor]:
    none = NoRegularizer()
    gaussians = [
        Gaussian(number, t.mu, t.gaussian.sigma, *t.gaussian.masks, none if t.gaussian.is_bias else rule)
        for number, t in enumerate(tensors)
    ]
    return draw(gaussians, fresh_key())


def _drawn_in_graph(tensors: list[QuantizedTensor], rule: Regularizer) -> tuple[list[Tensor], Tensor]:
    given = rule.linear or (0.0, 0.0)
    linear = [(0.0, 0.0) if t.gaussian.is_bias else given for t in tensors]
    return draw_in_graph([t.mu for t in tensors], [t.gaussian for t in tensors], linear)


@contextmanager
def replaced(model: nn.Module, weights: Callable[[QuantizedTensor], Tensor]) -> Iterator[None]:
    """Make every quantized tensor inside the block what `weights` returns for it, called once for each."""
    tensors = quantized_tensors(model)
    with _in_use(tensors, map(weights, tensors)):
        yield


@contextmanager
def at_mean(model: nn.Module) -> Iterator[Tensor]:
    """Compute at the mean inside the block, as outside; stands in for `sampled`, with a penalty of 0."""
    yield quantized_tensors(model)[0].mu.new_zeros(())


@contextmanager
def _in_use(tensors: list[QuantizedTensor], weights: Iterable[Tensor]) -> Iterator[None]:
    try:
        for tensor, weight in zip(tensors, weights, strict=True):
            tensor.gaussian.use(weight)
        yield
    finally:
        for tensor in tensors:
            tensor.gaussian.use(None)
