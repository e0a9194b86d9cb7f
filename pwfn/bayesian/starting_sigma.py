"""Choose where the sigmas of all quantized weights start, once their means are trained."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from typing_extensions import override

from pwfn.bayesian.posterior import QuantizedTensor
from pwfn.bayesian.prior import MIN_SIGMA
from pwfn.errors import RunError, one_line, require
from pwfn.value_kinds import FilePath


class SigmaError(RunError):
    """End a run whose sigmas cannot be set; the message is one line."""

    on_all_ranks = True


@dataclass(frozen=True)
class Evidence:
    """Hold what the training images say of the weights.

    Attributes:
        images: how many training images there are; None where they are streamed.
        squared_gradients: gives for each quantized tensor, from so many training images, the mean squared gradient of
            each weight per image, flat; None for a tensor whose gradients are not known.
    """

    images: int | None
    squared_gradients: Callable[[int], list[Tensor | None]]


class StartingSigma(ABC):
    """Set the starting sigmas of a network, which has those of the prior already.

    Attributes:
        is_posterior: whether draws from these sigmas mean something, though no round trains under noise.
    """

    is_posterior: ClassVar[bool] = False

    @property
    def curvature_images(self) -> int:
        """Count the training images that curvature is estimated from, in a dry run too; 0 = none is read."""
        return 0

    def check(self, tensors: Sequence[QuantizedTensor]) -> None:
        """Look, before anything trains, whether there will be sigmas for `tensors`.

        Raises:
            SigmaError: there will not be.
        """
        del tensors  # a prior and curvature ask for nothing

    @abstractmethod
    def __call__(self, tensors: Sequence[QuantizedTensor], evidence: Evidence) -> list[str]:
        """Overwrite the sigmas of `tensors` where they are not to be the prior's; return lines for the user.

        Raises:
            SigmaError: no sigmas can be made for these weights.
        """


class PriorSigma(StartingSigma):
    """Leave the sigmas that the prior gives (`prior`)."""

    @override
    def __call__(self, tensors: Sequence[QuantizedTensor], evidence: Evidence) -> list[str]:
        return []


@dataclass(frozen=True)
class LaplaceSigma(StartingSigma):
    """Make sigma the standard deviation of a Laplace approximation: 1 / sqrt(n g_o A_jj + 1 / prior^2).

    The posterior of the weights is taken for a Gaussian around the trained ones, whose precision is the curvature of
    the loss summed over n training images, and the precision of a Gaussian prior (MacKay 1992; for networks Ritter,
    Botev and Barber 2018, and Daxberger et al. 2021, arXiv:2106.14806). Of the Kronecker-factored curvature the
    diagonal is taken: g_o, the mean squared gradient of the weight's output o, times A_jj, the mean square of its
    input j (`pwfn.curvature.kronecker_diagonals`). `prior` is the sigma that the group `prior` gives the weight.

    Attributes:
        images: How many training images, without their labels, the curvature is estimated from, at least 2.
        count: n, how many training images the posterior stands for, above 0; fewer: larger sigmas. None: all there are.
    """

    images: int
    count: float | None

    is_posterior: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(
            self,
            images=(self.images >= 2, "an integer from 2"),
            count=(self.count is None or 0 < self.count < math.inf, "a number above 0, or null"),
        )

    @property
    @override
    def curvature_images(self) -> int:
        return self.images

    @override
    def __call__(self, tensors: Sequence[QuantizedTensor], evidence: Evidence) -> list[str]:
        n = evidence.images if self.count is None else self.count
        if n is None:
            raise SigmaError("sigma.count = None: must be a number where training images are streamed")
        unknown = 0
        for tensor, squared in zip(tensors, evidence.squared_gradients(self.images), strict=True):
            if squared is None:
                unknown += tensor.mu.numel()
            else:
                sigma = tensor.gaussian.sigma
                sigma.copy_(laplace_sigma(squared.to(sigma.device).view_as(sigma), n, sigma))
        weights = sum(tensor.mu.numel() for tensor in tensors)
        line = f"sigma: {unknown:,} of {weights:,} weights are of unknown curvature and keep the prior's"
        return [line] if unknown else []


def laplace_sigma(squared: Tensor, n: float, prior: Tensor) -> Tensor:
    """Return 1 / sqrt(n F + 1 / prior^2), at least 2^-30, in the dtype of `prior`.

    Args:
        squared: F, the mean squared gradient of each weight per image, not negative.
        n: how many images the posterior stands for, above 0.
        prior: sigma of each weight before any image was seen, above 0, in units of the weights.

    Raises:
        SigmaError: the squared gradients are not finite.
    """
    if not torch.isfinite(squared).all():
        raise SigmaError("sigma=laplace: the gradients of the loss must be finite where curvature is made of them")
    precision = n * squared.double() + prior.double().pow(-2)
    return precision.rsqrt().clamp_(min=MIN_SIGMA).to(prior.dtype)


@dataclass(frozen=True)
class GivenSigma(StartingSigma):
    """Read sigma of every quantized weight from a file, of a posterior that something else has learned.

    Attributes:
        path: Of a safetensors file with a tensor for each quantized one, of its name and shape, finite and above 0.
    """

    path: FilePath

    is_posterior: ClassVar[bool] = True

    @override
    def check(self, tensors: Sequence[QuantizedTensor]) -> None:
        self._checked(tensors)

    @override
    def __call__(self, tensors: Sequence[QuantizedTensor], evidence: Evidence) -> list[str]:
        given = self._checked(tensors)
        for tensor in tensors:
            tensor.gaussian.sigma.copy_(given[tensor.name]).clamp_(min=MIN_SIGMA)
        return []

    def _checked(self, tensors: Sequence[QuantizedTensor]) -> dict[str, Tensor]:
        given = self._read()
        names = {tensor.name for tensor in tensors}
        if wrong := sorted(names ^ given.keys()):
            has = "lacks" if wrong[0] in names else "has"
            more = f" ({len(wrong) - 1} more are wrong)" if wrong[1:] else ""
            raise SigmaError(
                f"sigma.path = {self.path!r}: must have the tensors that are quantized, but {has} {wrong[0]}{more}"
            )
        for tensor in tensors:
            sigma, target = given[tensor.name], tensor.gaussian.sigma
            if sigma.shape != target.shape:
                shapes = f"the shape {tuple(target.shape)}, not {tuple(sigma.shape)}"
                raise SigmaError(f"sigma.path = {self.path!r}: {tensor.name} must have {shapes}")
            if not (sigma.is_floating_point() and bool((torch.isfinite(sigma) & (sigma > 0)).all())):
                raise SigmaError(f"sigma.path = {self.path!r}: {tensor.name} must have finite numbers above 0 alone")
        return given

    def _read(self) -> dict[str, Tensor]:
        try:
            return load_file(self.path)
        except (SafetensorError, OSError) as error:
            raise SigmaError(f"sigma.path = {self.path!r}: must be a safetensors file ({one_line(error)})") from error
