"""Expected sizes against sums made by hand, and against the plain model's own state dict."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save
from scipy.stats import entropy
from torch import nn

from pwfn.bayesian.posterior import to_bayesian
from pwfn.errors import RunError
from pwfn.preview.expected_size import expected_size, other_bytes, symbol_counts


def test_sizes_are_sums_by_hand() -> None:
    # 700 indices of 3 entries, nothing free: 2 bits each at fixed width, with 3 entries of 4 bytes; 1000 other bytes
    size = expected_size(np.array([[300, 200, 0, 0], [100, 0, 100, 0]]), 1000)
    assert size.index_bits == 2
    assert size.fp32_mb == pytest.approx((1000 + 4 * 700) / 1e6, rel=1e-15)
    assert size.fixed_mb == pytest.approx((1000 + 12 + 700 * 2 / 8) / 1e6, rel=1e-15)
    bits = float(entropy([400, 200, 100], base=2))
    assert size.entropy_mb == (1000 + math.ceil(700 * bits / 8)) / 1e6


def test_a_free_weight_costs_an_index_and_its_float() -> None:
    size = expected_size(np.array([[300, 100, 600]]), 0)
    assert size.index_bits == 2
    assert size.fp32_mb == pytest.approx(4000 / 1e6)
    assert size.fixed_mb == pytest.approx((8 + 600 * 4 + 1000 * 2 / 8) / 1e6)
    bits = float(entropy([300, 100, 600], base=2))
    assert size.entropy_mb == (600 * 4 + math.ceil(1000 * bits / 8)) / 1e6


def test_with_a_codebook_for_each_tensor_each_has_its_own_list_width_and_entropy() -> None:
    counts = np.array([[300, 200, 0, 0, 0], [0, 0, 100, 60, 40], [0, 0, 0, 50, 0]])
    size = expected_size(counts, 1000, per_tensor=True)
    assert size.index_bits == 2
    rest = 1000 + 40 * 4
    # 500 weights of two values, 200 of two values and free ones, 50 of one value
    assert size.fixed_mb == (rest + math.ceil(500 / 8) + 8 + 200 * 2 // 8 + 8 + 4) / 1e6
    bits = 500 * float(entropy([300, 200], base=2)) + 200 * float(entropy([100, 60, 40], base=2))
    assert size.entropy_mb == (rest + math.ceil(bits / 8)) / 1e6


def test_symbols_are_counted_tensor_by_tensor_and_free_ones_last() -> None:
    assignment = torch.tensor([0, 2, -1, 2, 1, -1, -1], dtype=torch.int32)
    assert symbol_counts(assignment, [4, 3], 3).tolist() == [[1, 0, 2, 1], [0, 1, 0, 2]]


@pytest.mark.parametrize(("entries", "bits"), [(1, 0), (2, 1), (3, 2), (128, 7), (129, 8), (256, 8)])
def test_the_fixed_width_is_the_logarithm_rounded_up(entries: int, bits: int) -> None:
    size = expected_size(np.array([[8] * entries + [0]]), 0)
    assert size.index_bits == bits
    assert size.fixed_mb == (4 * entries + entries * bits) / 1e6
    assert 1e6 * size.entropy_mb == pytest.approx(entries * math.log2(entries), abs=1)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(10, 4), nn.Linear(10, 4, bias=False)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(4)  # 2 x 4 parameters, 2 x 4 floats and an int64 of statistics
        self.again = self.norm
        self.register_buffer("table", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("scratch", torch.zeros(1000), persistent=False)


def test_other_bytes_are_what_is_not_quantized_once() -> None:
    model = Model()
    to_bayesian(model, exclude=("first.bias",))
    assert other_bytes(model) == 4 * 4 + 8 * 4 + (8 * 4 + 8) + 3 * 8


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_nfnet", "coat_lite_tiny"])
def test_the_plain_size_is_that_of_the_models_file(name: str) -> None:
    model = timm.create_model(name)
    state = model.state_dict()
    once = {(t.data_ptr(), t.shape): t for t in state.values() if t.numel()}
    held = len(save({str(i): t.contiguous().clone() for i, t in enumerate(once.values())}))
    expected = sum(t.numel() * t.element_size() for t in once.values())
    tensors = to_bayesian(model)
    weights = sum(t.mu.numel() for t in tensors)
    size = expected_size(np.array([[weights, 0]]), other_bytes(model))
    assert round(1e6 * size.fp32_mb) == expected
    assert expected < held < expected + 200 * len(once)  # the file adds a header and nothing else


def test_other_bytes_count_the_dtype() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3).to(torch.bfloat16))
    to_bayesian(model)
    assert other_bytes(model) == 6 * 2


class Extra(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: object) -> None:
        del state


def test_a_state_that_is_no_tensor_is_refused_in_one_line() -> None:
    model = nn.Sequential(Extra(3, 3))
    to_bayesian(model)
    with pytest.raises(RunError, match=r"'0._extra_state' of the state dict is no tensor"):
        other_bytes(model)


def test_parameters_without_a_shape_count_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.LazyLinear(4))
    to_bayesian(model)
    assert other_bytes(model) == 0
