"""`inspect=true`: the report on any timm model, made without a single weight."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from rich.console import Console
from torch import nn

from pwfn.bayesian.coverage import Coverage, coverage
from pwfn.bayesian.posterior import QUANTIZED_TYPES, to_bayesian
from pwfn.config import build
from pwfn.models import meta_build
from pwfn.models.timm_model import ModelError, ModelSpec, build_bayesian
from pwfn.preview.inspection import COVERAGE_COLUMNS, coverage_rows, inspect, show_coverage
from pwfn.run.settings import TrainSettings
from tests.support.networks.families import FAMILIES
from tests.support.project import Compose, Program


def settings(composed: Compose, *overrides: str) -> TrainSettings:
    return build.load(TrainSettings, composed("inspect=true", *overrides))


def report(cover: Coverage, title: str = "a model") -> str:
    out = io.StringIO()
    show_coverage(cover, title, Console(file=out, width=120))
    return out.getvalue()


def test_there_are_many_families() -> None:
    assert len(FAMILIES) >= 60


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted(FAMILIES))
def test_every_family_is_reported_without_weights(module: str) -> None:
    spec = ModelSpec(FAMILIES[module])
    plain = spec.build(num_classes=None, in_chans=3, device="meta")
    assert all(p.is_meta for p in plain.parameters())
    layers = [m for m in plain.modules() if isinstance(m, QUANTIZED_TYPES)]
    inside = {id(p): p.numel() for m in layers for p in (m.weight, m.bias) if p is not None}
    sizes = {id(p): p.numel() for p in plain.parameters()}
    names = {name for name, _ in plain.named_parameters()}

    to_bayesian(plain)
    cover = coverage(plain)
    assert (cover.total, cover.covered) == (sum(sizes.values()), sum(inside.values()))
    rows = coverage_rows(cover)
    assert {row["name"] for row in rows} == names
    assert len(rows) == len(names)
    assert all(row["what"] for row in rows)
    assert sum(size for _, _, size in cover.covered_by_kind()) == cover.covered
    assert sum(size for _, _, size in cover.left_out_by_reason()) == cover.total - cover.covered
    poor = cover.share < 0.95
    assert any("not quantized" in line for line in cover.warnings()) == poor
    assert cover.share > 0.9 or module == "sequencer"  # whose layers are LSTMs
    assert f"{cover.total:,}" in report(cover)


@pytest.mark.parametrize("name", ["test_resnet", "test_nfnet", "coat_lite_tiny", "test_vit"])
def test_the_report_without_weights_is_that_of_the_real_model(name: str) -> None:
    spec = ModelSpec(name)
    meta = build_bayesian(spec, num_classes=7, in_chans=1, load_weights=False, device="meta")
    real = build_bayesian(spec, num_classes=7, in_chans=1)
    assert coverage(meta) == coverage(real)


class Odd(nn.Module):
    """Everything that is not plainly a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.lazy = nn.LazyLinear(4)
        self.new_style = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 2, 3))
        self.recurrent = nn.LSTM(4, 4)
        self.plain = nn.Linear(6, 5)
        self.nothing = nn.Linear(3, 3, bias=False)
        self.nothing.weight = None  # type: ignore[assignment]
        self.same = self.plain


def test_odd_modules_are_named() -> None:
    model = Odd()
    to_bayesian(model)
    cover = coverage(model)
    assert cover.quantized == {"new_style.bias": 4, "spectral.bias": 2, "plain.weight": 30, "plain.bias": 5}
    reasons = {one.name: one.reason for one in cover.uncovered}
    assert reasons["lazy.weight"] == reasons["lazy.bias"] == "without a shape before the first forward pass"
    computed = "from which a layer computes its weight in forward"
    assert {name for name, reason in reasons.items() if reason == computed} == {
        "new_style.parametrizations.weight.original0",
        "new_style.parametrizations.weight.original1",
        "spectral.parametrizations.weight.original",
    }
    assert reasons["recurrent.weight_hh_l0"] == "of LSTM (neither linear nor convolution)"
    assert cover.tied == ["same.weight = plain.weight", "same.bias = plain.bias"]
    assert cover.total == sum(p.numel() for n, p in model.named_parameters() if "lazy" not in n and "sigma" not in n)
    lines = cover.warnings()
    assert any("2 parameters have no shape" in line and "lazy.weight, lazy.bias" in line for line in lines)
    shown = report(cover)
    assert "tied parameters, counted once: 2 (same.weight = plain.weight, same.bias = plain.bias)" in shown
    assert "warning: 2 parameters have no shape" in shown


def test_the_report_names_the_largest_the_tied_and_the_normalized() -> None:
    model = timm.create_model("test_nfnet")
    to_bayesian(model)
    cover = coverage(model)
    lines = report(cover, "test_nfnet").splitlines()
    assert lines[0] == "test_nfnet"
    words = [line.split() for line in lines]
    largest = max(cover.quantized, key=lambda name: cover.quantized[name])
    assert [largest, f"{cover.quantized[largest]:,}", f"{100 * cover.quantized[largest] / cover.total:.2f}"] in words
    assert ["all", str(len(cover.quantized) + len(cover.uncovered)), f"{cover.total:,}", "100.00"] in words
    assert any(
        line.startswith(f"modules that normalize their weight in forward: {len(cover.normalized)} (") for line in lines
    )
    assert "tied parameters, counted once: none" in lines
    assert any(line.startswith("warning: ") and "normalize" in line for line in lines)


def test_inspect_leaves_the_whole_list(composed: Compose, tmp_path: Path) -> None:
    out = io.StringIO()
    made = settings(composed, "model=timm", "model.name=test_vit.r160_in1k", "data=image_folder", "data.root=/no/such")
    cover = inspect(made, {"some": "config"}, tmp_path, Console(file=out, width=120))
    with (tmp_path / "coverage.csv").open() as file:
        rows = [{key: c.read(row) for key, c in COVERAGE_COLUMNS.items()} for row in csv.DictReader(file)]
    assert rows == coverage_rows(cover)
    assert (
        sum(row["size"] for row in rows)
        == cover.total
        == sum(p.numel() for p in timm.create_model("test_vit").parameters())
    )
    assert sum(row["size"] for row in rows if row["quantised"]) == cover.covered
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["objective"] == result["summary"]["covered_percent"] == 100 * cover.share
    assert (result["summary"]["parameters"], result["summary"]["covered"]) == (cover.total, cover.covered)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == {"some": "config"}
    assert {path.name for path in tmp_path.iterdir()} == {"coverage.csv", "config.yaml", "result.json"}
    assert "test_vit.r160_in1k with 1000 classes (the model's own" in out.getvalue()
    assert "real tensors" not in out.getvalue()


def test_a_model_that_needs_real_tensors_gets_them_with_a_note(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = timm.create_model

    def reading_a_weight(*args: object, **options: object) -> nn.Module:
        model = create(*args, **options)
        next(model.parameters()).sum().item()  # what some constructors do, and what meta tensors cannot
        return model

    monkeypatch.setattr(timm, "create_model", reading_a_weight)
    out = io.StringIO()
    made = settings(composed, "model=test_resnet")
    cover = inspect(made, {}, tmp_path, Console(file=out, width=120))
    assert cover == coverage(build_bayesian(made.model, num_classes=10, in_chans=1))
    (note,) = [line for line in out.getvalue().splitlines() if "real tensors" in line]
    assert "meta" in note


def test_a_model_that_cannot_be_built_is_one_line(composed: Compose, tmp_path: Path) -> None:
    made = settings(composed, "model=test_resnet", "+model.args.no_such_argument=1")
    with pytest.raises(ModelError, match="no_such_argument") as error:
        inspect(made, {}, tmp_path, Console(quiet=True))
    assert "\n" not in str(error.value)
    wrong = settings(composed, "model=test_resnet", "model.quantize.exclude=[fcc.*]")
    with pytest.raises(ModelError, match=r"'fcc\.\*' matches no parameter"):
        inspect(wrong, {}, tmp_path, Console(quiet=True))
    assert not list(tmp_path.iterdir())


def test_a_model_with_nothing_to_quantize_is_one_line(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: nn.Sequential(nn.LayerNorm(3)))
    with pytest.raises(ModelError, match="no linear or convolution layer"):
        inspect(settings(composed, "model=test_resnet"), {}, tmp_path, Console(quiet=True))


def test_a_file_of_weights_is_read(composed: Compose, tmp_path: Path) -> None:
    """One that does not fit is found before anything trains, and a classifier for other classes is said."""
    weights, out = tmp_path / "weights.pth", io.StringIO()
    made = settings(composed, "model=test_resnet", f"model.checkpoint={touched(weights)}")
    torch.save({"wrong": torch.zeros(1)}, weights)
    with pytest.raises(ModelError, match=r"weights\.pth: they do not fit, missing (is|are) "):
        inspect(made, {}, tmp_path / "run", Console(quiet=True))
    for classes, line in (
        (10, "all weights are in"),
        (7, "for 7 classes and the data has 10, so the classifier is new"),
    ):
        network = timm.create_model("test_resnet", in_chans=1, num_classes=classes)
        torch.save({"state_dict": network.state_dict(), "lr": 0.1}, weights)
        inspect(made, {}, tmp_path / "run", Console(file=out, width=300))
        assert line in out.getvalue()
        assert "what is no tensor" not in out.getvalue()


def touched(path: Path) -> Path:
    path.touch()
    return path


def test_sizes_that_a_model_does_not_take_are_said(composed: Compose, tmp_path: Path) -> None:
    out = io.StringIO()
    wrong, right = (("model=timm", "model.name=levit_128s"), ("model=test_resnet",))
    inspect(settings(composed, *wrong), {}, tmp_path / "wrong", Console(file=out, width=300))
    assert "a run will be refused: data.image_size = 32: levit_128s takes 224 x 224 pixels" in out.getvalue()
    out = io.StringIO()
    inspect(settings(composed, *right), {}, tmp_path / "right", Console(file=out, width=300))
    assert "refused" not in out.getvalue()


def test_no_weights_of_the_hub_are_read(composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = settings(composed, "model=test_resnet", "model.pretrained=true")
    seen: list[dict[str, object]] = []

    def building(spec: ModelSpec, **options: Any) -> nn.Module:
        seen.append(options)
        return build_bayesian(spec, **options)

    monkeypatch.setattr(meta_build, "build_bayesian", building)
    assert inspect(made, {}, tmp_path / "run", Console(quiet=True)).share > 0.99
    assert [(options["device"], options["load_weights"]) for options in seen] == [("meta", False)]


@pytest.mark.slow
def test_from_the_command_line(program: Program, tmp_path: Path) -> None:
    done = program(tmp_path, "train.py", "inspect=true", "model=deit_tiny", "data=image_folder", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert "5,717,416" in done.stdout
    assert "share the codebook" in done.stdout
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # no W&B run, no log
