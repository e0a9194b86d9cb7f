"""The report on what is quantized, what is not, and why."""

from __future__ import annotations

import timm
from torch import nn

from pwfn.bayesian.coverage import Uncovered, coverage
from pwfn.bayesian.posterior import to_bayesian


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(10, 4)
        self.second = nn.Linear(10, 4, bias=False)
        self.second.weight = self.first.weight
        self.norm = nn.LayerNorm(4)
        self.lookup = nn.Embedding(50, 2)
        self.token = nn.Parameter(nn.init.ones_(nn.Linear(3, 1).weight.data))
        self.shared_norm = self.norm


def test_sums_reasons_and_ties() -> None:
    model = Model()
    total = sum(p.numel() for p in model.parameters())
    to_bayesian(model, exclude=("first.bias",))
    report = coverage(model)
    assert report.total == total == 40 + 4 + 8 + 100 + 3
    assert report.quantized == {"first.weight": 40}
    assert report.kinds == {"first.weight": "weight of Linear"}
    assert report.share == 40 / total
    assert report.tied == [
        "second.weight = first.weight",
        "shared_norm.weight = norm.weight",
        "shared_norm.bias = norm.bias",
    ]
    assert sorted(report.uncovered, key=lambda u: u.name) == [
        Uncovered("first.bias", 4, "excluded by configuration"),
        Uncovered("lookup.weight", 100, "of Embedding (neither linear nor convolution)"),
        Uncovered("norm.bias", 4, "of normalization layers"),
        Uncovered("norm.weight", 4, "of normalization layers"),
        Uncovered("token", 3, "held by a module directly (embeddings, tokens, layer scales)"),
    ]


def test_sentence_and_warning_name_the_largest() -> None:
    model = Model()
    to_bayesian(model, exclude=("first.bias",))
    report = coverage(model)
    assert report.sentence() == (
        "40 of 155 parameters (25.81 %) share the codebook; in floating point stay "
        "100 of Embedding (neither linear nor convolution), 8 of normalization layers, 4 excluded by configuration, "
        "3 held by a module directly (embeddings, tokens, layer scales)"
    )
    (warning,) = report.warnings()
    assert warning.startswith("74.2 % of the parameters are not quantized; the largest: lookup.weight (100), ")


def test_a_fully_covered_model_has_no_warnings() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Conv1d(3, 3, 1))
    to_bayesian(model)
    report = coverage(model)
    assert report.share == 1
    assert report.uncovered == []
    assert report.warnings() == []
    assert report.sentence() == "24 of 24 parameters (100.00 %) share the codebook"


def test_a_norm_layer_that_is_included_is_covered() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    to_bayesian(model, include=("1.weight",))
    report = coverage(model)
    assert report.quantized == {"0.weight": 9, "0.bias": 3, "1.weight": 3}
    assert [(u.name, u.reason) for u in report.uncovered] == [("1.bias", "of normalization layers")]


def test_other_kinds_say_what_they_are() -> None:
    model = nn.ModuleDict({"lstm": nn.LSTM(2, 3), "attention": nn.MultiheadAttention(4, 2)})
    to_bayesian(model)
    report = coverage(model)
    assert set(report.quantized) == {"attention.out_proj.weight", "attention.out_proj.bias"}
    reasons = {u.reason for u in report.uncovered}
    assert reasons == {
        "of LSTM (neither linear nor convolution)",
        "of MultiheadAttention (neither linear nor convolution)",
    }
    assert report.total == sum(report.quantized.values()) + sum(u.size for u in report.uncovered)


def test_standardized_convolutions_are_named() -> None:
    model = timm.create_model("test_nfnet", pretrained=False)
    to_bayesian(model)
    report = coverage(model)
    expected = [name for name, m in model.named_modules() if "StdConv2d" in type(m).__name__]
    assert report.normalized == expected
    assert len(expected) > 3
    (words,) = [line for line in report.warnings() if "normalize" in line]
    assert words.startswith(f"{len(expected)} modules normalize their weight in forward ({expected[0]}, ")
    plain = timm.create_model("test_resnet", pretrained=False)
    to_bayesian(plain)
    assert coverage(plain).normalized == []
