"""Define what one draw of a network's weights computes: the interface of the kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from pwfn.bayesian.regularizer import Regularizer


@dataclass(frozen=True)
class Gaussian:
    """Hold one tensor of weights with a mean and a standard deviation each; all tensors have one shape.

    Attributes:
        number: its place in the network, which selects its noise.
        mu: the means.
        sigma: the standard deviations.
        free_mu: a boolean mask of the means that train; None where all do.
        free_sigma: the same for the sigmas: `free_mu` or None.
        regularizer: what pulls its sigmas.
    """

    number: int
    mu: Tensor
    sigma: Tensor
    free_mu: Tensor | None
    free_sigma: Tensor | None
    regularizer: Regularizer


Drawn = tuple[list[Tensor], Tensor]  # weights, and their share of the penalty (a scalar)


class Kernels(ABC):
    """Compute draws, their gradients and a masked addition for several tensors in one call.

    The noise eps is a function of a key, the number of the tensor and the place in it (see
    `pwfn.bayesian.kernels.noise`), the same for every implementation up to rounding. A backward pass computes it again,
    so that nothing of its size is kept.
    """

    @abstractmethod
    def supports(self, tensors: Sequence[Tensor]) -> bool:
        """Return whether these kernels compute with means and sigmas of such devices and types."""

    @abstractmethod
    def weights_together(self, weights: int) -> int:
        """Return how many weights of a network of so many one node of autograd's graph draws at most.

        The gradients of a node are there all at once: more weights, fewer nodes, but more memory, and later messages
        between processes.
        """

    def draw_groups(self, groups: Sequence[Sequence[Gaussian]], key: int) -> Iterator[Drawn]:
        """Draw group by group, as `draw` does; the penalties of all groups together are that of the network."""
        for group in groups:
            yield self.draw(group, key)

    @abstractmethod
    def draw(self, gaussians: Sequence[Gaussian], key: int) -> Drawn:
        """Draw `mu + max(sigma, 2^-30) * eps` for each tensor.

        Args:
            gaussians: what to draw from, all on one device.
            key: an integer from 0 to 2^64 - 1.

        Returns:
            The weights, and the sum of the regularizers' penalties (a scalar).
        """

    @abstractmethod
    def sigma_gradients(
        self, gaussians: Sequence[Gaussian], grads: Sequence[Tensor], scale: Tensor | None, key: int
    ) -> list[Tensor]:
        """Compute the gradients of sigma from those of the drawn weights (which are those of mu).

        They are `grad * eps` where sigma is free and at least 2^-30, plus `scale` times the regularizer's gradient.

        Args:
            gaussians: what was drawn from.
            grads: d loss / d weights, one for each tensor, of its shape; they are not changed.
            scale: d loss / d penalty (a scalar); None for 0.
            key: the key of the draw.

        Returns:
            d loss / d sigma for each tensor.
        """

    @abstractmethod
    def keep_free(self, tensors: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Multiply `total` by 0 outside the mask `free`, in place, for each `(total, free)` of one shape."""

    @abstractmethod
    def add_masked(self, tensors: Sequence[tuple[Tensor, Tensor, Tensor]], factor: float | Tensor) -> None:
        """Add `factor * values` to `total` in the mask `free`, in place.

        Args:
            tensors: one `(total, values, free)` of one shape for each tensor; elsewhere total keeps every bit.
            factor: any number; a scalar on the device of the tensors where the host is not to wait for it.
        """
