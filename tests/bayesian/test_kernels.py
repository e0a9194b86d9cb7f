"""Draws, gradients and masked additions of every implementation against the equations."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from pwfn.bayesian.kernels import Gaussian, backend, choose_kernels, installed_kernels
from pwfn.bayesian.kernels.choice import KERNELS
from pwfn.bayesian.prior import MIN_SIGMA
from pwfn.bayesian.regularizer import (
    ExponentialRegularizer,
    LinearOnGradRegularizer,
    LinearRegularizer,
    NoRegularizer,
    Regularizer,
)
from tests.support.kernels import IMPLEMENTATIONS, INTERPRETED, ON_GPU, implementation

SIZES = [1, 511, 1025, 300_001]  # within a span, over its end, many spans
KEY = 123456789123456789
RULES = {
    "none": NoRegularizer(),
    "some": LinearRegularizer(0.3, 0.05),
    "all": LinearRegularizer(0.3, 1.0),
    "exponential": ExponentialRegularizer(0.3, 0.05),
    "on grad": LinearOnGradRegularizer(0.3, 0.05),
}


def values(size: int) -> dict[str, Tensor]:
    """Sigmas on both sides of the ceiling and of 2^-30, gradients, and a mask."""
    numbers = torch.Generator().manual_seed(size)
    sigma = torch.rand(size, generator=numbers) * 0.1
    sigma[::7] *= -1
    return {
        "mu": torch.randn(size, generator=numbers),
        "sigma": sigma,
        "grad": torch.randn(size, generator=numbers),
        "free": torch.rand(size, generator=numbers) < 0.4,
    }


def gaussian(size: int, rule: Regularizer, *, masked: bool, retrained: bool) -> Gaussian:
    given = values(size)
    free = given["free"] if masked else None
    return Gaussian(4, given["mu"], given["sigma"], free, None if retrained else free, rule)


def expected(one: Gaussian, eps: Tensor, grad: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, penalty and the gradient of sigma as in the docstrings of the interface, in float64."""
    mu, sigma, eps, grad = (tensor.double() for tensor in (one.mu, one.sigma, eps, grad))
    free_sigma = torch.ones_like(mu) if one.free_sigma is None else one.free_sigma.double()
    data = grad * eps * (sigma >= MIN_SIGMA)
    pull = one.regularizer.gradient(sigma, eps, one.free_mu, data / scale)
    weights = mu + sigma.clamp(min=MIN_SIGMA) * eps
    return weights, one.regularizer.penalty(sigma, eps, one.free_mu), data * free_sigma + scale * pull


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("retrained", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_draws_and_gradients_follow_the_equations(
    name: str, rule: str, size: int, retrained: bool, masked: bool
) -> None:
    one, grad = gaussian(size, RULES[rule], masked=masked, retrained=retrained), values(size)["grad"]
    before, kernels = grad.clone(), implementation(name)
    (weights,), penalty = kernels.draw([one], KEY)
    (of_sigma,) = kernels.sigma_gradients([one], [grad], torch.tensor(3.0), KEY)
    wanted = expected(one, kernels.noise([one], KEY)[0], grad, 3.0)
    for made, want in zip((weights, penalty, of_sigma), wanted, strict=True):
        torch.testing.assert_close(made.double(), want, rtol=1e-5, atol=1e-6)
    assert torch.equal(grad, before)  # others may read it


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_without_a_gradient_of_the_penalty_there_is_no_pull(name: str) -> None:
    one, grad = gaussian(2000, RULES["all"], masked=False, retrained=False), values(2000)["grad"]
    kernels = implementation(name)
    (of_sigma,) = kernels.sigma_gradients([one], [grad], None, KEY)
    eps = kernels.noise([one], KEY)[0]
    torch.testing.assert_close(of_sigma, grad * eps * (one.sigma >= MIN_SIGMA))


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("place", ["mu", "sigma", "grad"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_stays_so(name: str, place: str, bad: float) -> None:
    one, grad = gaussian(2000, RULES["some"], masked=False, retrained=False), values(2000)["grad"]
    {"mu": one.mu, "sigma": one.sigma, "grad": grad}[place][3] = bad
    kernels = implementation(name)
    (weight,), total = kernels.draw([one], 1)
    (sigma_grad,) = kernels.sigma_gradients([one], [grad], torch.tensor(1.0), 1)
    wrong = {"mu": weight, "sigma": weight, "grad": sigma_grad}[place]
    assert not torch.isfinite(wrong[3])
    assert int(torch.isfinite(wrong).sum()) == 1999
    if place == "sigma" and math.isnan(bad):
        assert torch.isnan(total)
        assert torch.isnan(sigma_grad[3])


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_masked_addition(name: str, layout: str) -> None:
    form = torch.channels_last if layout == "channels last" else torch.contiguous_format
    tensors = []
    for shape in ((2, 3, 5, 7), (1, 511, 1, 1), (1, 3, 1, 100_000)):
        given = {key: value.view(shape) for key, value in values(math.prod(shape)).items()}
        tensors.append((given["mu"].to(memory_format=form, copy=True), given["grad"], given["free"]))
    before = [total.clone() for total, _, _ in tensors]
    implementation(name).add_masked(tensors, -0.3)
    for was, (total, added, free) in zip(before, tensors, strict=True):
        torch.testing.assert_close(total, was - 0.3 * added * free)
        assert torch.equal(total[~free], was[~free])


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_only_what_is_free_keeps_its_gradient(name: str, layout: str) -> None:
    form = torch.channels_last if layout == "channels last" else torch.contiguous_format
    tensors = []
    for shape in ((2, 3, 5, 7), (1, 511, 1, 1), (1, 3, 1, 100_000)):
        given = {key: value.view(shape) for key, value in values(math.prod(shape)).items()}
        tensors.append((given["grad"].to(memory_format=form, copy=True), given["free"]))
    tensors[0][0][0, 0, 0, 5] = math.nan  # stays so, free or not
    before = [total.clone() for total, _ in tensors]
    implementation(name).keep_free(tensors)
    for was, (total, free) in zip(before, tensors, strict=True):
        torch.testing.assert_close(total, was * free, rtol=0, atol=0, equal_nan=True)


def test_numba_is_chosen_for_float32_on_a_cpu_and_the_reference_for_the_rest() -> None:
    fast, slow = implementation("numba_cpu"), implementation("reference")
    single, double = torch.empty(2), torch.empty(2, dtype=torch.float64)
    assert backend([single]) is fast
    assert backend([]) is KERNELS[installed_kernels()[1]]()  # the fastest
    assert backend([double]) is backend([single, double]) is backend([torch.empty(2, device="meta")]) is slow


def test_what_is_chosen_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwfn.bayesian.kernels.choice._chosen", "auto")  # put back afterwards
    for name in installed_kernels()[1:]:
        choose_kernels(name)
        device = "cuda" if name == ON_GPU and not INTERPRETED else "cpu"
        assert backend([torch.empty(2, device=device)]) is KERNELS[name]()
        assert backend([torch.empty(2, device=device, dtype=torch.float64)]) is KERNELS["reference"]()
    allowed = r"auto, (triton_cuda, )?(numba_cpu, )?reference"  # a GPU's only where there is one
    with pytest.raises(ValueError, match=rf"^kernels = 'fast': must be one of {allowed}$"):
        choose_kernels("fast")


@pytest.mark.skipif(INTERPRETED, reason="those of a GPU are there without one")
@pytest.mark.parametrize("cuda", [False, True])
def test_the_kernels_of_a_gpu_are_offered_where_there_is_one(cuda: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    asked_anew = {name: build.__wrapped__ for name, build in KERNELS.items()}  # type: ignore[attr-defined]
    monkeypatch.setattr("pwfn.bayesian.kernels.choice.KERNELS", asked_anew)
    numba = ["numba_cpu"] if find_spec("numba") else []
    assert installed_kernels() == ["auto", *([ON_GPU] if cuda else []), *numba, "reference"]


def test_a_folder_that_takes_no_compiled_code_is_put_up_with(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    compiled = pytest.importorskip("pwfn.bayesian.kernels.numba_compiled")
    assert compiled._cache_is_writable() is True

    def refuse(**_options: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(numba, "njit", refuse)
    assert compiled._cache_is_writable() is False
