"""At the mean a Bayesian network is the plain one, bit for bit, whatever timm builds it from; and the way back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from pwfn.bayesian.coverage import coverage
from pwfn.bayesian.posterior import (
    QUANTIZED_TYPES,
    quantized_tensors,
    sampled,
    set_sigma,
    to_bayesian,
    to_deterministic,
)
from pwfn.bayesian.prior import ConstantPrior

# name, side of the images, what makes it smaller
FAST: list[tuple[str, int, dict[str, Any]]] = [
    ("test_resnet", 32, {}),
    ("test_nfnet", 32, {}),  # scaled standardized convolutions
    ("mobilenetv3_small_050", 32, {}),  # depthwise
    ("tf_mobilenetv3_small_minimal_100", 32, {}),  # Conv2dSame
    ("convnext_atto", 32, {}),
    ("deit_tiny_patch16_224", 32, {"img_size": 32, "depth": 2}),
    ("coat_lite_tiny", 32, {"img_size": 32}),  # tied position encodings
]
SLOW: list[tuple[str, int, dict[str, Any]]] = [
    ("resnet10t", 64, {}),
    ("resnetv2_50x1_bit", 64, {}),  # StdConv2d
    ("nf_resnet26", 64, {}),
    ("regnetx_002", 64, {}),
    ("densenet121", 64, {}),
    ("tf_efficientnet_lite0", 64, {}),
    ("ghostnet_050", 64, {}),
    ("mobileone_s0", 64, {}),
    ("repvgg_a0", 64, {}),
    ("lcnet_035", 64, {}),
    ("starnet_s050", 64, {}),
    ("dla46x_c", 64, {}),
    ("hrnet_w18_small", 64, {}),
    ("mobilevit_xxs", 64, {}),
    ("edgenext_xx_small", 64, {}),
    ("efficientformerv2_s0", 64, {"img_size": 64}),
    ("poolformer_s12", 64, {}),
    ("inception_next_atto", 64, {}),
    ("coat_tiny", 64, {"img_size": 64}),
    ("swin_tiny_patch4_window7_224", 64, {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": (2, 1, 1, 1)}),
    ("xcit_nano_12_p16_224", 64, {"img_size": 64, "depth": 2}),
    ("cait_xxs24_224", 64, {"img_size": 64, "depth": 2}),
    ("mixer_s32_224", 64, {"img_size": 64}),
    ("gmlp_ti16_224", 64, {"img_size": 64}),
    ("pit_ti_224", 64, {"img_size": 64}),
    ("crossvit_9_240", 240, {"depth": ((1, 1, 0), (1, 1, 0), (1, 1, 0))}),
    ("levit_128s", 64, {"img_size": 64}),
    ("mambaout_femto", 64, {}),
    ("beit_base_patch16_224", 64, {"img_size": 64, "embed_dim": 48, "depth": 2}),
    ("visformer_tiny", 64, {"img_size": 64}),
]


def layer_parameters(model: nn.Module) -> dict[int, int]:
    """Size by identity of every weight and bias of a linear or convolution layer."""
    layers = [m for m in model.modules() if isinstance(m, QUANTIZED_TYPES)]
    return {id(p): p.numel() for m in layers for p in (m.weight, m.bias) if p is not None}


@pytest.mark.parametrize(
    ("name", "side", "options"),
    [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
    ids=[case[0] for case in FAST + SLOW],
)
def test_mean_is_bit_identical_and_the_way_back_restores_everything(
    name: str, side: int, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=5, **options).eval()
    images = torch.randn(2, 3, side, side)
    types = {module_name: type(module) for module_name, module in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    in_layers, parameters = layer_parameters(model), sum(p.numel() for p in model.parameters())
    identities = {parameter_name: id(p) for parameter_name, p in model.named_parameters(remove_duplicate=False)}

    with torch.no_grad():
        plain = model(images)
        tensors = to_bayesian(model)
        assert torch.equal(model(images), plain)
        set_sigma(model, ConstantPrior(0.1))
        assert torch.equal(model(images), plain)
        with sampled(model):
            assert not torch.equal(model(images), plain)
        assert torch.equal(model(images), plain)

    assert {id(t.mu): t.mu.numel() for t in tensors} == in_layers
    report = coverage(model)
    assert (report.total, sum(report.quantized.values())) == (parameters, sum(in_layers.values()))
    assert set(report.quantized) <= set(state)

    assert to_deterministic(model) is model
    assert quantized_tensors(model) == []
    assert {module_name: type(module) for module_name, module in model.named_modules()} == types
    again = {parameter_name: id(p) for parameter_name, p in model.named_parameters(remove_duplicate=False)}
    assert again == identities
    back: dict[str, Tensor] = model.state_dict()
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) for key in state)
    with torch.no_grad():
        assert torch.equal(model(images), plain)
