"""Priors against a version that goes weight by weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pwfn.bayesian.prior import MIN_SIGMA, ConstantPrior, Pow2DistancePrior, linear_quantile, relative_pow2_distance
from pwfn.errors import InvalidValueError
from tests.support import oracles

SETTINGS = settings(deadline=None, derandomize=True, max_examples=200)
values = st.one_of(
    st.floats(-4, 4, width=32, allow_subnormal=False),
    st.integers(-40, 5).map(lambda j: 2.0**j),
    st.sampled_from((0.0, -0.0, 0.75, -0.1, 1e-30)).map(lambda x: float(np.float32(x))),
)


@SETTINGS
@given(st.lists(values, min_size=1, max_size=50))
def test_pow2_distance_equals_the_oracle(mu: list[float]) -> None:
    made = Pow2DistancePrior()(torch.tensor(mu, dtype=torch.float64))
    torch.testing.assert_close(made, torch.from_numpy(oracles.pow2_distance(np.array(mu))), rtol=1e-9, atol=0)


def test_float32_layer() -> None:
    mu = 0.03 * torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    made = Pow2DistancePrior()(mu)
    assert made.dtype == torch.float32
    assert made.shape == mu.shape
    expected = oracles.pow2_distance(mu.double().numpy().flatten()).reshape(mu.shape)
    # 1 - m and m - 1/2 are exact; close to a power of two nothing is lost either
    torch.testing.assert_close(made.double(), torch.from_numpy(expected), rtol=2e-6, atol=0)


@pytest.mark.parametrize(
    "settings_", [(0.01, 0.5, 0.05), (0.0025, 0.9, 0.002), (0.3, 1.0, 0.1), (0.0025, 0.75, 0.0024)]
)
def test_scale_quantile_and_ceiling(settings_: tuple[float, float, float]) -> None:
    mu = torch.randn(333, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = torch.from_numpy(oracles.pow2_distance(mu.numpy(), *settings_))
    torch.testing.assert_close(Pow2DistancePrior(*settings_)(mu), expected, rtol=1e-9, atol=0)
    assert expected.max() <= settings_[2]


@pytest.mark.parametrize(
    "mu", [[0.0], [0.5], [0.0, 0.0, -0.0], [0.25, -0.5, 1.0, 2.0**-30, 0.0], [0.3, 1.0, 1.0, 1.0, 0.5, 0.0, 0.25, 2.0]]
)
def test_without_a_positive_quantile_sigma_is_the_smallest_everywhere(mu: list[float]) -> None:
    assert torch.equal(Pow2DistancePrior()(torch.tensor(mu)), torch.full((len(mu),), 2.0**-30))


@pytest.mark.parametrize("mu", [[0.3], [-0.3], [0.3] * 7, [-0.3, 0.3, -0.6]])
def test_equal_distances_give_the_scale(mu: list[float]) -> None:
    torch.testing.assert_close(Pow2DistancePrior()(torch.tensor(mu)), torch.full((len(mu),), 0.0025), rtol=1e-5, atol=0)


def test_distance_does_not_depend_on_sign_nor_on_a_factor_of_two_and_is_zero_on_powers() -> None:
    mu = torch.tensor([0.3, 0.7, 0.26, 0.49999])
    distance = relative_pow2_distance(mu)
    assert torch.equal(relative_pow2_distance(-mu), distance)
    assert torch.equal(relative_pow2_distance(mu * 64), distance)
    assert bool((distance > 0).all())
    special = torch.tensor([0.0, -0.0, 1.0, -2.0, 2.0**-126, 2.0**-140])
    assert torch.equal(relative_pow2_distance(special), torch.zeros(6))


@SETTINGS
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.floats(0, 1))
def test_quantile_interpolates_linearly(numbers: list[float], q: float) -> None:
    made = linear_quantile(torch.tensor(numbers, dtype=torch.float64), q)
    assert made == pytest.approx(float(np.quantile(numbers, q)), rel=1e-9, abs=1e-9)


@pytest.mark.slow
def test_more_than_two_to_the_24_elements() -> None:
    mu = torch.full((2**24 + 4,), 0.3)
    mu[: 2**22 + 8] = 0.26  # nearer to a power of two: a bit more than a quarter
    mu[2**22 + 8 : 2**22 + 12] = 0.5
    sigma = Pow2DistancePrior()(mu)
    torch.testing.assert_close(sigma[-1].item(), 0.0025, rtol=1e-5, atol=0)
    near, far = ((1 - m) * (m - 0.5) / m**2 for m in (0.52, 0.6))
    torch.testing.assert_close(sigma[0].item(), 0.0025 * near / far, rtol=1e-5, atol=0)
    assert sigma[2**22 + 9].item() == MIN_SIGMA
    assert sigma.unique().numel() == 3


def test_constant_is_the_same_everywhere() -> None:
    mu = torch.tensor([[0.0, 1.0, -0.3]], dtype=torch.float64)
    assert torch.equal(ConstantPrior()(mu), torch.full((1, 3), 1e-4, dtype=torch.float64))
    assert torch.equal(ConstantPrior(0.02)(mu.float()), torch.full((1, 3), 0.02))


def test_settings_out_of_range_are_named_at_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Pow2DistancePrior(scale=0, quantile=1.1, ceiling=float("nan"))
    assert [fault.name for fault in caught.value.faults] == ["scale", "quantile", "ceiling"]
    with pytest.raises(InvalidValueError, match=r"sigma = 0: must be a number from 2\^-30"):
        ConstantPrior(0)
