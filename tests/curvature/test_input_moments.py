"""Moments of a layer's inputs against naive loops over patches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from pwfn.curvature import find_layers, input_moments
from pwfn.curvature.input_moments import Mixture
from tests.support.curvature import watched_of


def naive_moments(inputs: Tensor, module: nn.Conv2d, *, bias: bool) -> Tensor:
    """Patch by patch and image by image: inputs [images, channels, height, width], padded already."""
    groups, (kh, kw) = module.groups, module.kernel_size
    of_group = inputs.shape[1] // groups
    columns = of_group * kh * kw + bias
    total = torch.zeros(groups, columns, columns, dtype=torch.float64)
    (sh, sw), (dh, dw) = module.stride, module.dilation
    for image in inputs.double():
        for top in range(0, image.shape[1] - dh * (kh - 1), sh):
            for left in range(0, image.shape[2] - dw * (kw - 1), sw):
                for group in range(groups):
                    channels = image[group * of_group : (group + 1) * of_group]
                    patch = channels[:, top : top + dh * kh : dh, left : left + dw * kw : dw][:, :kh, :kw].flatten()
                    x = torch.cat([patch, torch.ones(1, dtype=torch.float64)]) if bias else patch
                    total[group] += torch.outer(x, x)
    return total / len(inputs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 1, "stride": 2},
        {"padding": (1, 0), "dilation": (1, 2)},
        {"groups": 2, "padding": "same"},
        {"groups": 4, "bias": False},
        {"padding": 1, "padding_mode": "circular"},
        {"kernel_size": (1, 3), "padding": "valid"},
    ],
    ids=str,
)
def test_moments_of_convolutions_are_those_of_their_patches(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(4, 8, **{"kernel_size": 3} | options).double()
    images = torch.randn(3, 4, 7, 6).double()
    watched = watched_of(module)
    (layer,) = find_layers(module, watched.weights, images)
    (found,) = input_moments(watched, watched, [layer], images.split(2))
    given = images
    if module.padding_mode == "circular":
        given = F.pad(images, (1, 1, 1, 1), mode="circular")
    elif module.padding == "same":
        given = F.pad(images, (1, 1, 1, 1))
    elif not isinstance(module.padding, str):
        down, right = module.padding
        given = F.pad(images, (right, right, down, down))
    expected = naive_moments(given, module, bias=module.bias is not None)
    assert (layer.groups, layer.rows) == (module.groups, 8 // module.groups)
    torch.testing.assert_close(found.own, expected)
    torch.testing.assert_close(found.cross, expected)


def test_padding_of_timms_same_convolution_is_seen() -> None:
    torch.manual_seed(0)
    module = Conv2dSame(2, 3, 3, stride=2)
    images = torch.randn(2, 2, 6, 6)
    watched = watched_of(module)
    (found,) = input_moments(watched, watched, find_layers(module, watched.weights, images), [images])
    expected = naive_moments(F.pad(images, (0, 1, 0, 1)), module, bias=True)
    torch.testing.assert_close(found.own, expected, rtol=1e-5, atol=1e-5)


def test_a_convolution_of_one_dimension_is_one_of_two() -> None:
    torch.manual_seed(0)
    one, two = nn.Conv1d(3, 4, 3, padding=1, stride=2, dilation=2), nn.Conv2d(3, 4, (1, 3), padding=(0, 1), stride=2)
    two.dilation = (1, 2)
    signal = torch.randn(2, 3, 9)
    found = [
        input_moments(w, w, find_layers(w.network, w.weights, x), [x])[0].own
        for w, x in ((watched_of(one), signal), (watched_of(two), signal[:, :, None]))
    ]
    torch.testing.assert_close(*found)


def test_positions_of_a_linear_map_are_summed_over_an_image() -> None:
    torch.manual_seed(0)
    module, tokens = nn.Linear(5, 2).double(), torch.randn(3, 4, 5).double()
    watched = watched_of(module)
    (found,) = input_moments(watched, watched, find_layers(module, watched.weights, tokens), [tokens])
    rows = torch.cat([tokens.reshape(12, 5), torch.ones(12, 1).double()], 1)
    torch.testing.assert_close(found.own[0], rows.T @ rows / 3)


def test_a_share_of_the_positions_estimates_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module, images = nn.Conv2d(1, 2, 3, padding=1), torch.randn(400, 1, 16, 16) + 0.5
    watched = watched_of(module)
    layers = find_layers(module, watched.weights, images[:2])
    (whole,) = input_moments(watched, watched, layers, images.split(20))
    monkeypatch.setattr("pwfn.curvature.patches.LEAST_POSITIONS", 8000)
    (share,) = input_moments(watched, watched, layers, images.split(20))
    assert not torch.equal(whole.own, share.own)
    scale = whole.own.diagonal(dim1=1, dim2=2).mean()
    assert float((share.own - whole.own).abs().max()) < 0.1 * float(scale)


def test_moments_of_sums_are_shrunk_towards_those_of_each_position() -> None:
    torch.manual_seed(0)
    module, images = nn.Conv2d(2, 4, 2, groups=2).double(), torch.randn(3, 2, 5, 5).double() + 0.3
    watched = watched_of(module)
    layers = find_layers(module, watched.weights, images)
    apart, pooled, half = (
        input_moments(watched, watched, layers, [images], mixtures=[Mixture(*mixture)], shrink=shrink)[0].own
        for mixture, shrink in (((1, 0), 0.5), ((0, 1), 0.0), ((0.3, 2.0), 0.25))
    )
    sums = F.unfold(images, 2).sum(2).view(3, 2, 4)
    ones = torch.full((3, 2, 1), 16.0).double()
    sums = torch.cat([sums, ones], 2)
    torch.testing.assert_close(pooled, torch.einsum("igx,igy->gxy", sums, sums) / 3)
    ratio = pooled.diagonal(dim1=1, dim2=2).sum(1) / apart.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(half, (0.3 + 2 * 0.25 * ratio)[:, None, None] * apart + 2 * 0.75 * pooled)


def test_cross_moments_are_with_the_inputs_of_the_reference() -> None:
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double() for _ in range(2)]
    images = torch.randn(6, 3).double()
    now, before = (watched_of(network) for network in networks)
    layers = find_layers(networks[0], now.weights, images)
    (moments,) = input_moments(now, before, layers[1:], [images])
    x, r = (torch.cat([n[0](images), torch.ones(6, 1).double()], 1).detach() for n in networks)
    torch.testing.assert_close(moments.own[0], x.T @ x / 6)
    torch.testing.assert_close(moments.cross[0], r.T @ x / 6)
