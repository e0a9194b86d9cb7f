"""Starting sigmas: the Laplace approximation against a naive loop, and what is refused."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior
from pwfn.bayesian.starting_sigma import Evidence, GivenSigma, LaplaceSigma, PriorSigma, SigmaError
from pwfn.curvature import Watched, kronecker_diagonals

IMAGES, CLASSES, PRIOR = 6000, 3, 0.2


def network_and_images() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, CLASSES))
    to_bayesian(network)
    set_sigma(network, ConstantPrior(PRIOR))
    return network, torch.randn(IMAGES, 1, 2, 2) * torch.tensor([0.1, 1.0, 2.0, 4.0]).view(1, 1, 2, 2)


def evidence(network: nn.Module, images: Tensor, count: int | None = IMAGES) -> Evidence:
    watched = Watched(network, [tensor.mu for tensor in quantized_tensors(network)])
    return Evidence(count, lambda wanted: kronecker_diagonals(watched, images[:wanted].split(500)))


def naive(network: nn.Module, images: Tensor, n: float) -> tuple[list[list[float]], list[float]]:
    """One over the root of n g_o A_jj + 1 / prior^2, image by image and label by label, of weight and bias."""
    g, a = [0.0] * CLASSES, [0.0] * 4
    for image in images:
        shares = network(image[None]).softmax(1)[0].tolist()
        for label, share in enumerate(shares):
            for output in range(CLASSES):
                g[output] += share * (shares[output] - (output == label)) ** 2 / len(images)
        for j, x in enumerate(image.flatten().tolist()):
            a[j] += x * x / len(images)
    of_weight = [[1 / math.sqrt(n * g[o] * a[j] + 1 / PRIOR**2) for j in range(4)] for o in range(CLASSES)]
    return of_weight, [1 / math.sqrt(n * g[o] + 1 / PRIOR**2) for o in range(CLASSES)]


@pytest.mark.parametrize("count", [None, 50.0])
def test_the_laplace_sigma_is_that_of_a_loop_over_images_and_labels(count: float | None) -> None:
    network, images = network_and_images()
    tensors = quantized_tensors(network)
    with torch.no_grad():
        assert LaplaceSigma(IMAGES, count)(tensors, evidence(network, images)) == []
        of_weight, of_bias = naive(network, images, count or IMAGES)
    # labels are drawn, once for each image
    torch.testing.assert_close(tensors[0].gaussian.sigma, torch.tensor(of_weight), rtol=0.03, atol=0)
    torch.testing.assert_close(tensors[1].gaussian.sigma, torch.tensor(of_bias), rtol=0.03, atol=0)
    assert tensors[0].gaussian.sigma.max() / tensors[0].gaussian.sigma.min() > 2


def test_weights_of_unknown_curvature_keep_the_sigma_of_the_prior() -> None:
    network, _ = network_and_images()
    tensors = quantized_tensors(network)
    only_bias = Evidence(10, lambda _: [None, torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)])
    with torch.no_grad():
        (line,) = LaplaceSigma(2, None)(tensors, only_bias)
    assert "12 of 15" in line
    assert (tensors[0].gaussian.sigma == torch.tensor(PRIOR)).all()
    expected = [PRIOR, 1 / math.sqrt(10 + 25), 1 / math.sqrt(40 + 25)]
    torch.testing.assert_close(tensors[1].gaussian.sigma, torch.tensor(expected))


def test_the_prior_alone_reads_nothing_and_changes_nothing() -> None:
    network, _ = network_and_images()

    def read(images: int) -> list[Tensor | None]:
        raise AssertionError(images)

    assert PriorSigma()(quantized_tensors(network), Evidence(None, read)) == []
    assert PriorSigma().curvature_images == 0
    assert not PriorSigma().is_posterior


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("images = 1: must be an integer from 2; count = 0.0: must be")):
        LaplaceSigma(1, 0.0)
    network, images = network_and_images()
    with pytest.raises(SigmaError, match=re.escape("sigma.count = None")):
        LaplaceSigma(8, None)(quantized_tensors(network), evidence(network, images, None))
    broken = Evidence(10, lambda _: [torch.full((12,), math.nan), None])
    with pytest.raises(SigmaError, match="must be finite"):
        LaplaceSigma(8, None)(quantized_tensors(network), broken)


NOTHING = Evidence(None, lambda _: [])


def given(folder: Path, **changed: Tensor | None) -> GivenSigma:
    tensors = {"1.weight": torch.rand(CLASSES, 4) + 0.1, "1.bias": torch.full((CLASSES,), 1e-12), **changed}
    save_file({name: one for name, one in tensors.items() if one is not None}, folder / "sigma.safetensors")
    return GivenSigma(str(folder / "sigma.safetensors"))


def test_given_sigmas_are_those_of_the_file_by_name(tmp_path: Path) -> None:
    network, _ = network_and_images()
    weight, bias = (tensor.gaussian.sigma for tensor in quantized_tensors(network))
    expected = torch.linspace(0.1, 0.5, 12).view(CLASSES, 4)
    with torch.no_grad():
        given(tmp_path, **{"1.weight": expected})(quantized_tensors(network), NOTHING)
    assert torch.equal(weight, expected)
    assert (bias == 2.0**-30).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"1.bias": None}, "but lacks 1.bias"),
        ({"2.bias": torch.ones(1)}, "but has 2.bias"),
        ({"1.weight": None, "2.bias": torch.ones(1)}, "but lacks 1.weight (1 more are wrong)"),
        ({"1.weight": torch.ones(4, CLASSES)}, "1.weight must have the shape (3, 4), not (4, 3)"),
        ({"1.bias": torch.zeros(CLASSES)}, "1.bias must have finite numbers above 0 alone"),
        ({"1.bias": torch.tensor([1.0, math.nan, 1.0])}, "1.bias must have finite numbers above 0 alone"),
        ({"1.bias": torch.tensor([1.0, math.inf, 1.0])}, "1.bias must have finite numbers above 0 alone"),
        ({"1.bias": torch.ones(CLASSES, dtype=torch.int32)}, "1.bias must have finite numbers above 0 alone"),
    ],
    ids=str,
)
def test_a_file_that_does_not_fit_is_refused_and_changes_nothing(
    changed: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    network, _ = network_and_images()
    with pytest.raises(SigmaError, match=re.escape(message)):
        given(tmp_path, **changed)(quantized_tensors(network), NOTHING)
    assert all((tensor.gaussian.sigma == torch.tensor(PRIOR)).all() for tensor in quantized_tensors(network))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    network, _ = network_and_images()
    (tmp_path / "text").write_text("no tensors")
    for name in ("text", "nowhere"):
        with pytest.raises(SigmaError, match="must be a safetensors file"):
            GivenSigma(str(tmp_path / name))(quantized_tensors(network), NOTHING)
