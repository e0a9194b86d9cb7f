"""`train.py resume=<folder> ...`: what may be said beside it, and what is refused before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pwfn.checkpoint import files, saved_config, saved_run
from pwfn.cli.resume import is_asked, resume, resumed_config, without_lost_weights
from pwfn.config import build, resolvers
from pwfn.run.settings import TrainSettings
from tests.support.project import PROJECT, SMALL, Compose


@pytest.fixture
def folder(composed: Compose, tmp_path: Path) -> Path:
    """What a run that has just begun leaves."""
    resolvers.register()
    saved_config.write_config(tmp_path, OmegaConf.to_container(composed(*SMALL), resolve=True))
    return tmp_path


def asked(folder: Path, *overrides: str) -> Any:
    found, cfg = resumed_config(PROJECT / "conf", "train", [f"resume={folder}", *overrides])
    assert found == folder
    return OmegaConf.to_container(cfg)


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *overrides: str) -> list[str]:
    with pytest.raises(SystemExit) as stop:
        asked(folder, *overrides)
    assert stop.value.code == 2
    return [line.strip() for line in capsys.readouterr().err.splitlines()[1:]]


def test_only_a_command_line_with_resume_resumes() -> None:
    assert is_asked(["seed=1", "resume=outputs/x"])
    assert not is_asked(["name=resume", "seed=1"])


def test_the_configuration_is_the_runs_own(folder: Path) -> None:
    assert asked(folder) == OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))


def test_the_command_that_started_it_may_be_repeated(folder: Path) -> None:
    assert asked(folder, *SMALL, f"hydra.run.dir={folder}") == asked(folder)


def test_what_cannot_change_a_result_may_change(folder: Path) -> None:
    cfg = asked(
        folder, "trainer=ddp_cpu", "logger=csv", "data.num_workers=2", "quiet=false", "checkpoint.every_steps=7"
    )
    assert (cfg["trainer"]["devices"], cfg["trainer"]["strategy"]) == (2, "ddp")
    assert cfg["logger"] == {"_target_": "pwfn.monitoring.Csv"}
    assert (cfg["data"]["num_workers"], cfg["quiet"], cfg["checkpoint"]["every_steps"]) == (2, False, 7)
    assert cfg["data"]["train_size"] == 64
    assert cfg["schedule"]["fractions"] == [0.6, 1.0]


def test_another_accelerator_may_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # settings only: no device is touched
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert asked(folder, "trainer=gpu")["trainer"]["accelerator"] == "gpu"
    assert asked(folder, "trainer.accelerator=auto")["trainer"]["accelerator"] == "auto"


@pytest.mark.slow
@pytest.mark.parametrize("begun", [True, False])
def test_the_file_of_weights_may_be_gone_once_a_checkpoint_has_them(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str], begun: bool
) -> None:
    weights, run = tmp_path / "mine.pth", tmp_path / "run"
    weights.touch()
    config = composed(*SMALL, f"model.checkpoint={weights}", "distillation=pretrained", "pretrain.epochs=0")
    saved_config.write_config(run, OmegaConf.to_container(config, resolve=True))
    weights.unlink()
    if begun:
        files.write(run, {}, 1)
        cfg = asked(run)
        assert cfg["model"]["checkpoint"] == str(weights)  # the configuration stays what it was
        model = build.load(TrainSettings, without_lost_weights(run, OmegaConf.create(cfg))).model
        assert (model.checkpoint, model.random_weights) == (None, False)
    else:
        assert refused(capsys, run)[0].startswith(f"model.checkpoint = '{weights}': must be an existing file")


def test_every_difference_is_refused_with_its_key_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = refused(capsys, folder, "seed=1", "optimizer=adam", "schedule.fractions=[1.0]", "data.num_workers=1")
    said = "\n".join(lines)
    assert "seed = 1: must be 0, as in the run that is resumed" in lines
    assert "schedule.fractions = [1.0]: must be [0.6, 1.0], as in the run that is resumed" in lines
    assert "optimizer._target_ = 'pwfn.training.Adam': must be 'pwfn.training.SGD'" in said
    assert "optimizer.momentum is left out" in said
    assert "num_workers" not in said


def test_a_preset_must_agree_as_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = refused(capsys, folder, "experiment=fashion_mnist_resnet18")
    assert any(line.startswith("data._target_ = 'pwfn.data.FashionMNIST': must be 'pwfn.data.Synth") for line in lines)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("data.nois=3", "data.nois = 3: unknown key; the nearest is data.noise"),
        ("data=digitss", "data = 'digitss': must be one of"),
        ("seed=0,1", "seed = 0,1: must be one value"),
        ("checkpoint.keep=0", "checkpoint.keep = 0: must be an integer from 1"),
        ("hydra.run.dir=elsewhere", "hydra.run.dir = 'elsewhere': must be left out, or the folder that is resumed"),
        ("-m", "must be without -m"),
    ],
)
def test_other_faults(folder: Path, capsys: pytest.CaptureFixture[str], override: str, fault: str) -> None:
    assert any(fault in line for line in refused(capsys, folder, override))


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = refused(capsys, tmp_path)
    assert line.startswith(f"resume = '{tmp_path}': must be the folder of a run")
    assert "config.yaml" in line


def test_a_finished_run_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "result.json").write_text("{}")
    resume(PROJECT / "conf", "train", [f"resume={folder}"])
    assert f"the run in {folder} is finished" in capsys.readouterr().out


def test_a_new_run_in_a_used_folder_is_told_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/000001-0123456789abcdef.ckpt").touch()
    with pytest.raises(saved_run.FolderInUse, match=f"go on with it \\(resume={tmp_path}\\)"):
        saved_run.refuse_used(tmp_path)
