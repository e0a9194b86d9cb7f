"""Weights that are given are kept; a classifier for other classes is trained first, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from pwfn.config import build
from pwfn.models.timm_model import ModelError
from pwfn.run.settings import TrainSettings
from pwfn.run.stages import IF_ANOTHER
from tests.support.project import Compose

NAME = "test_resnet"
DATA = ("experiment=smoke", "quiet=true", "logger=none", "report=false", "data.train_size=64", "data.test_size=60")
ONE = ("schedule=one_shot", "schedule.fractions=[1.0]")


def written(path: Path, classes: int = 10) -> dict[str, Tensor]:
    torch.manual_seed(9)
    state: dict[str, Tensor] = timm.create_model(NAME, num_classes=classes, in_chans=1).state_dict()
    torch.save({"state_dict": state}, path)
    return state


def run(composed: Compose, folder: Path, *overrides: str) -> Path:
    from omegaconf import OmegaConf

    from pwfn.run import start

    cfg = composed(*DATA, *ONE, *overrides)
    plain = OmegaConf.to_container(cfg, resolve=True)
    return start.run(build.load(TrainSettings, cfg), plain, folder, name="test").folder


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        ((), 8),
        (("model.checkpoint=FILE",), 0),
        (("model.pretrained=true",), 0),
        (("model=timm", "model.name='local-dir:FOLDER'"), 0),
        (("model=deit_tiny", "model.checkpoint=FILE"), 0),
        (("model.checkpoint=FILE", "pretrain=short"), 8),
        (("model.checkpoint=FILE", "pretrain.epochs=3"), 3),
        (("pretrain=none",), 0),
        (("experiment=paper_resnet18", "data=digits", "trainer=cpu"), 0),
    ],
)
def test_given_weights_are_not_trained_unless_asked(
    composed: Compose, tmp_path: Path, overrides: tuple[str, ...], epochs: int
) -> None:
    file = tmp_path / "mine.pth"
    file.touch()
    (tmp_path / "config.json").write_text("{}")
    filled = [text.replace("FILE", str(file)).replace("FOLDER", str(tmp_path)) for text in overrides]
    settings = build.load(TrainSettings, composed(*filled))
    assert settings.pretrain.epochs == epochs
    asked = any("are trained on for" in remark for remark in settings.remarks)
    assert asked == (bool(epochs) and not settings.model.random_weights)
    random = any("RANDOM weights and pretrain.epochs is 0" in remark for remark in settings.remarks)
    assert random == (overrides == ("pretrain=none",))


@pytest.mark.slow
def test_of_given_weights_it_is_told_what_their_accuracy_depends_on(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "mine.pth")
    run(composed, tmp_path / "given", f"model.checkpoint={tmp_path}/mine.pth", "quiet=false")
    assert IF_ANOTHER in capsys.readouterr().out.splitlines()
    run(composed, tmp_path / "trained", "pretrain.epochs=1", "quiet=false")
    assert IF_ANOTHER not in capsys.readouterr().out


def test_a_missing_name_is_one_fault(composed: Compose) -> None:
    with pytest.raises(build.ConfigError) as caught:
        build.load(TrainSettings, composed("model=timm"))
    assert caught.value.faults == ["model.name: has to be given: text (in quotes if it looks like a number)"]


@pytest.mark.slow
def test_a_file_is_what_is_compressed_bit_for_bit(composed: Compose, tmp_path: Path) -> None:
    state = written(tmp_path / "mine.pth")
    folder = run(composed, tmp_path / "run", f"model.checkpoint={tmp_path / 'mine.pth'}")
    before = load_file(folder / "pretrained.safetensors")
    assert before.keys() == state.keys()
    assert all(torch.equal(before[name], value) for name, value in state.items())
    assert yaml.safe_load((folder / "config.yaml").read_text())["pretrain"]["epochs"] == 0


@pytest.mark.slow
def test_who_trains_given_weights_is_told(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.pth"
    state = written(file)
    folder = run(composed, tmp_path / "run", f"model.checkpoint={file}", "pretrain=short", "pretrain.epochs=1")
    line = f"the weights from {file} are trained on for 1 epochs (learning rate 0.05) before anything is fixed"
    assert line in capsys.readouterr().out
    assert not torch.equal(load_file(folder / "pretrained.safetensors")["fc.weight"], state["fc.weight"])


def test_a_new_classifier_that_nothing_trains_is_refused(composed: Compose, tmp_path: Path) -> None:
    written(tmp_path / "mine.pth", classes=7)
    with pytest.raises(ModelError) as caught:
        run(composed, tmp_path / "run", f"model.checkpoint={tmp_path / 'mine.pth'}")
    line = str(caught.value)
    assert "the weights are for 7 classes and the data has 10, so the classifier is new and RANDOM" in line
    assert "pretrain=head" in line
    assert "\n" not in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_classifier_trains_first_and_alone(composed: Compose, tmp_path: Path) -> None:
    state = written(tmp_path / "mine.pth", classes=7)
    asked = (f"model.checkpoint={tmp_path / 'mine.pth'}", "pretrain=head", "pretrain.head_epochs=2")
    head = load_file(run(composed, tmp_path / "head", *asked, "pretrain.epochs=0") / "pretrained.safetensors")
    parameters = {name for name, _ in timm.create_model(NAME, num_classes=10, in_chans=1).named_parameters()}
    for name, value in state.items():
        if name in parameters and not name.startswith("fc."):
            assert torch.equal(head[name], value), name
    assert head["fc.weight"].shape[0] == 10
    both = load_file(run(composed, tmp_path / "both", *asked, "pretrain.epochs=1") / "pretrained.safetensors")
    assert not any(torch.equal(both[name], head[name]) for name in ("fc.weight", "conv1.0.weight"))


@pytest.mark.slow
def test_a_new_classifier_learns(composed: Compose, tmp_path: Path) -> None:
    """The file knows the ten patterns under another head, so that few epochs of the head are enough."""
    from pwfn.records.rounds import read_records

    options = ("data.noise=0.3", "data.train_size=400", "data.test_size=200")
    first = run(composed, tmp_path / "first", *options, "pretrain=short", "pretrain.epochs=4")
    known = load_file(first / "pretrained.safetensors")
    other = {name: value[:7] if name.startswith("fc.") else value for name, value in known.items()}
    torch.save(other, tmp_path / "mine.pth")
    asked = (*options, f"model.checkpoint={tmp_path / 'mine.pth'}", "pretrain=head", "pretrain.epochs=0")
    folder = run(composed, tmp_path / "second", *asked)
    before: Any = yaml.safe_load((folder / "summary.json").read_text())["pretrained"]
    assert before["top1"] > 60  # guessing is 10 %
    assert read_records(folder)[-1].fraction == 1


@pytest.mark.slow
def test_a_run_broken_off_while_the_classifier_trains_ends_with_the_same_bits(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omegaconf import OmegaConf

    from pwfn.run import start
    from pwfn.training.module import BayesianClassifier

    written(tmp_path / "mine.pth", classes=7)
    asked = (
        f"model.checkpoint={tmp_path / 'mine.pth'}",
        "pretrain=head",
        "pretrain.head_epochs=2",
        "pretrain.epochs=1",
    )
    whole = run(composed, tmp_path / "whole", *asked, "checkpoint.every_steps=1")
    step, calls = BayesianClassifier.training_step, [0]

    def breaks(self: nn.Module, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:  # in the second of two epochs of two steps
            raise RuntimeError("broken off")
        return step(self, *arguments)

    monkeypatch.setattr(BayesianClassifier, "training_step", breaks)
    with pytest.raises(RuntimeError, match="broken off"):
        run(composed, tmp_path / "broken", *asked, "checkpoint.every_steps=1")
    monkeypatch.undo()
    (tmp_path / "mine.pth").unlink()
    cfg = composed(*DATA, *ONE, *asked[1:], "model.pretrained=true", "checkpoint.every_steps=1")
    plain = OmegaConf.to_container(cfg, resolve=True)
    start.run(build.load(TrainSettings, cfg), plain, tmp_path / "broken", name="test", resume=True)
    ends = [load_file(folder / "network.safetensors") for folder in (whole, tmp_path / "broken")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
