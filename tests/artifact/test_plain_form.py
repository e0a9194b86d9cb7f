"""Norms and biases in a file: exact, in float16, BatchNorm folded; what changes is what is said to."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import pwfn
from pwfn.artifact.container import PREAMBLE
from pwfn.artifact.parts import plain_tensors, take_apart
from pwfn.artifact.plain_form import FORMS, TOLERANCE, PlainForm, stored_plain
from pwfn.bayesian.posterior import to_deterministic
from tests.support.artifact.forge import Forge
from tests.support.clustered import clustered, same_bits

LOSSY: list[PlainForm] = ["float16", "folded", "folded_float16"]
EPS = 1e-5  # of timm's BatchNorm


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return clustered("test_resnet")


def expected(state: dict[str, Tensor], coded: set[str], form: PlainForm) -> dict[str, Tensor]:
    """The state dict that a file of this form gives back, number by number."""
    wanted = dict(state)
    if "folded" in form:
        for name in [key.removesuffix("running_var") for key in state if key.endswith("running_var")]:
            weight, bias, mean, variance = (
                state[name + key].tolist() for key in ("weight", "bias", "running_mean", "running_var")
            )
            scale = [w / math.sqrt(v + EPS) for w, v in zip(weight, variance, strict=True)]
            wanted[name + "weight"] = torch.tensor(scale)
            wanted[name + "bias"] = torch.tensor([b - m * s for b, m, s in zip(bias, mean, scale, strict=True)])
            wanted[name + "running_mean"] = torch.zeros(len(scale))
            wanted[name + "running_var"] = torch.full((len(scale),), 1 - EPS)
    if "float16" in form:
        filled = ("running_mean", "running_var") if "folded" in form else ()
        halved = {k for k, v in wanted.items() if v.dtype == torch.float32 and k not in coded}
        wanted |= {k: wanted[k].half().float() for k in halved if not k.endswith(filled)}
    return wanted


@pytest.mark.parametrize("form", FORMS)
def test_what_is_loaded_is_what_a_loop_over_all_numbers_makes(
    form: PlainForm, network: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "model.pwfn"
    receipt = pwfn.save(path, network, plain=form)
    said = pwfn.describe(path)
    coded = {name for one in said["coded"] for name in one["names"]}
    state = {**take_apart(network).state}
    wanted = expected(state, coded, form)
    for options in ({}, {"packed": True}):
        found = to_deterministic(pwfn.load(path, **options)) if not options else pwfn.load(path, **options)
        loaded = found.state_dict()
        others = [key for key in state if key not in coded]
        assert [key for key in others if not same_bits(loaded[key], wanted[key])] == []
    weights = pwfn.load(path).state_dict()
    assert [key for key in coded if not same_bits(weights[key], state[key])] == []
    assert said["plain_form"] == (None if form == "exact" else form)
    assert said["format_version"] == (1 if form == "exact" else 2)
    assert said["receipt"]["plain"] == receipt.plain == len(Forge(path).sections["plain"])


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050"])
def test_folding_leaves_the_logits(name: str, tmp_path: Path) -> None:
    network = clustered(name)
    pwfn.save(tmp_path / "model.pwfn", network, plain="folded")
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        loaded, given = pwfn.load(tmp_path / "model.pwfn")(images), network(images)
    torch.testing.assert_close(loaded, given, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", LOSSY)
def test_a_network_that_was_loaded_is_written_without_a_change(
    form: PlainForm, network: nn.Module, tmp_path: Path
) -> None:
    first = pwfn.save(tmp_path / "model.pwfn", network, plain=form)
    loaded = pwfn.load(tmp_path / "model.pwfn")
    parts = take_apart(loaded)
    assert not stored_plain(*plain_tensors(network), form).same
    assert stored_plain(parts.plain, parts.norms, form).same
    again = pwfn.save(tmp_path / "again.pwfn", loaded, plain=form)
    assert (first.plain, first.float32) == (again.plain, again.float32)
    assert again.plain_change == 0
    state, wanted = pwfn.load(tmp_path / "again.pwfn").state_dict(), loaded.state_dict()
    assert [key for key in wanted if not same_bits(state[key], wanted[key])] == []


def test_the_posterior_has_the_same_norms(network: nn.Module, tmp_path: Path) -> None:
    pwfn.save(tmp_path / "model.pwfn", network, plain="folded_float16", sigma=True)
    posterior = pwfn.load(tmp_path / "model.pwfn", posterior=True)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(posterior(images), pwfn.load(tmp_path / "model.pwfn")(images))


def test_every_form_is_smaller_and_the_receipt_says_by_what(network: nn.Module, tmp_path: Path) -> None:
    receipts = {form: pwfn.save(tmp_path / form, network, plain=form) for form in FORMS}
    exact = receipts["exact"]
    counters = 8 * sum(key.endswith("num_batches_tracked") for key in pwfn.load(tmp_path / "exact").state_dict())
    assert exact.plain is not None
    floats = exact.plain - counters
    assert {form: one.plain for form, one in receipts.items()} == {
        "exact": exact.plain,
        "float16": floats // 2 + counters,
        "folded": floats // 2 + counters,
        "folded_float16": floats // 4 + counters,
    }
    assert all(one.float32 == exact.float32 for one in receipts.values())
    assert receipts["folded_float16"].entropy_bound == exact.entropy_bound - floats * 3 // 4
    assert exact.plain_change is None
    for form in LOSSY:
        change = receipts[form].plain_change
        assert change is not None
        assert 0 < change <= (2**-11 if "float16" in form else TOLERANCE)


def test_an_exact_file_is_of_version_1_and_has_no_other_keys(network: nn.Module, tmp_path: Path) -> None:
    pwfn.save(tmp_path / "model.pwfn", network)
    assert PREAMBLE.unpack((tmp_path / "model.pwfn").read_bytes()[: PREAMBLE.size])[1] == 1
    assert not {"plain_form", "filled"} & Forge(tmp_path / "model.pwfn").header.keys()


class _Norms(nn.Module):
    """A layer with BatchNorms of every kind; `shared` and `tied` own one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.norm, self.shared, self.tied = nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.tied.weight = self.shared.weight
        self.twice = self.norm
        self.without_scale = nn.BatchNorm1d(4, affine=False)
        self.without_statistics = nn.BatchNorm1d(4, track_running_stats=False)
        self.large_eps = nn.BatchNorm1d(4, eps=1.5)
        self.register_buffer("of_half", torch.ones(3, dtype=torch.float16))
        self.register_buffer("empty", torch.ones(0))


def test_only_a_norm_that_owns_all_its_vectors_is_folded() -> None:
    plain, norms = plain_tensors(_Norms())
    assert [norm.weight for norm in norms] == ["norm.weight"]
    held = stored_plain(plain, norms, "folded")
    assert [one.names for one in held.filled] == [
        (f"norm.{key}", f"twice.{key}") for key in ("running_mean", "running_var")
    ]


@pytest.mark.filterwarnings("ignore:the artifact will not say")
def test_tensors_of_float16_stay_what_they_are(tmp_path: Path) -> None:
    model = _Norms()
    pwfn.save(tmp_path / "model.pwfn", model, plain="float16")
    loaded = pwfn.load(tmp_path / "model.pwfn", model=_Norms())
    assert loaded.of_half.dtype == torch.float16
    assert loaded.norm.weight.dtype == torch.float32


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 7e4])
@pytest.mark.parametrize(("form", "faulty"), [("float16", "layer.bias"), ("folded_float16", "norm.bias")])
def test_a_value_that_float16_cannot_hold_is_refused_by_name(form: PlainForm, faulty: str, value: float) -> None:
    model = _Norms()
    model.get_parameter(faulty).data[1] = value
    named = (
        faulty if form == "float16" or math.isfinite(value) else "norm.running_var cannot be folded into norm.weight"
    )
    with pytest.raises(pwfn.ArtifactError, match=re.escape(named)) as error:
        stored_plain(*plain_tensors(model), form)
    assert "\n" not in str(error.value)
    assert f"plain = {form!r}" in str(error.value)


@pytest.mark.parametrize("vector", ["weight", "bias", "running_mean", "running_var"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_norm_that_is_not_finite_is_not_folded(vector: str, value: float) -> None:
    model = _Norms()
    getattr(model.norm, vector).data[1] = value
    with pytest.raises(pwfn.ArtifactError, match=r"norm\.running_var cannot be folded into norm\.weight"):
        stored_plain(*plain_tensors(model), "folded")


def test_a_variance_that_has_no_root_is_refused() -> None:
    model = _Norms()
    model.norm.running_var[0] = -1.0
    with pytest.raises(pwfn.ArtifactError, match=r"norm\.running_var"):
        stored_plain(*plain_tensors(model), "folded")


@pytest.mark.parametrize(("form", "other"), [("folded", "exact"), ("folded_float16", "float16")])
def test_a_network_without_batchnorm_cannot_be_folded(form: PlainForm, other: str, tmp_path: Path) -> None:
    network = timm.create_model("test_vit", num_classes=5)
    with pytest.raises(pwfn.ArtifactError, match=f"no BatchNorm .* use '{other}'"):
        pwfn.save(tmp_path / "model.pwfn", network, plain=form)
    assert list(tmp_path.iterdir()) == []


def test_a_form_that_is_none_is_refused(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(pwfn.ArtifactError, match="must be one of exact, float16, folded, folded_float16"):
        pwfn.save(tmp_path / "model.pwfn", network, plain="half")  # type: ignore[arg-type]


def test_tiny_values_and_channels_that_are_off() -> None:
    """A subnormal scale folds within one step of float32; what float16 flushes to 0 counts as changed as a whole."""
    model = _Norms()
    with torch.no_grad():
        model.norm.weight.copy_(torch.tensor([0.0, 1e-40, 1e-20, 1.0]))
        model.norm.running_var.copy_(torch.tensor([0.0, 4.0, 1e-12, 1e4]))
    folded = stored_plain(*plain_tensors(model), "folded")
    assert folded.fold_error <= TOLERANCE
    rounded = stored_plain(*plain_tensors(model), "float16")
    assert (rounded.change, rounded.where) == (1.0, "norm.weight, 1e-40")
