"""What is refused at the door, before anything heavy is imported or measured, with what was meant."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from pwfn.artifact import ArtifactError, save
from pwfn.cli.evaluate import refuse_lone_keys_of_data
from pwfn.cli.evaluate_task import _report_folder
from pwfn.cli.train import faults_of_a_run
from pwfn.config import build, program, resolvers
from pwfn.config.preflight import preflight
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.run.settings import TrainSettings
from tests.support.images.data import write_folder
from tests.support.project import CONF, PROJECT, SMALL, Compose


def check(words: tuple[str, ...]) -> None:
    refuse_lone_keys_of_data(words)
    preflight(EvaluateSettings, CONF, "evaluate", words)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    resolvers.register()
    with pytest.raises(SystemExit) as stop:
        check(words)
    assert stop.value.code == 2
    return [line.strip() for line in capsys.readouterr().err.splitlines()[1:]]


def test_settings_of_a_run_are_not_those_of_its_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = refused(capsys, "run=somewhere", "schedule=quick")
    assert line.startswith("schedule=quick: a run is measured with the settings that it was trained with")
    (line,) = refused(capsys, "run=somewhere", "data.batch_size=3")
    assert line.startswith("data.batch_size=3: must be with artifact=<model.pwfn> data=<option>")
    refuse_lone_keys_of_data(["artifact=model.pwfn", "data=digits", "data.batch_size=3", "data_root=x"])


def test_an_evaluation_of_nothing_or_of_two_things_says_what_can_be_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (line,) = refused(capsys)
    assert line.startswith(
        "run = None: must be given, or artifact or report instead: run=outputs/<date>/<time> measures"
    )
    for way in ("run=", "artifact=model.pwfn data=digits", "report="):
        assert way in line
    (line,) = refused(capsys, "run=somewhere", f"report={tmp_path}")
    assert line == "run = 'somewhere': must be null: only one of run and report at a time"


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (
            ("compile=true", "compile_mode=fast"),
            "one of default, reduce-overhead, max-autotune-no-cudagraphs, max-autotune",
        ),
        (("compile_mode=reduce-overhead",), "default where compile is false"),
    ],
)
def test_a_mode_of_the_compiler_is_one_of_torchs_and_wants_it(
    words: tuple[str, ...], allowed: str, composed: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwfn.run.settings._can_compile", lambda: True)
    with pytest.raises(build.ConfigError) as caught:
        build.load(TrainSettings, composed(*words))
    assert caught.value.faults == [f"compile_mode = {words[-1].split('=')[1]!r}: must be {allowed}"]


@pytest.mark.slow
def test_torchs_modes_are_all_there(composed: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwfn.run.settings._can_compile", lambda: True)
    modes = importlib.import_module("torch._inductor").list_mode_options()  # as torch.compile's page says
    for mode in modes.keys() - {"lite"}:  # of torch 2.14, which compiles hardly anything
        assert build.load(TrainSettings, composed("compile=true", f"compile_mode={mode}")).compile_mode == mode


def test_a_folder_of_images_is_looked_at_with_the_settings(composed: Compose, tmp_path: Path) -> None:
    def faults(*more: str) -> list[str]:
        cfg = composed(*SMALL[:4], "data=image_folder", f"data.root={tmp_path}/images", *more)
        return faults_of_a_run(build.load(TrainSettings, cfg))

    (line,) = faults()
    assert line.startswith(f"data: {tmp_path}/images: no such folder; data.root is a folder")
    for asked in ("dry_run=true", "inspect=true", "resume=auto"):
        assert faults(asked) == []  # which need no images, or may find a finished run
    write_folder(tmp_path / "images")
    assert faults() == []


def test_a_report_on_the_checkout_itself_goes_where_git_ignores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    assert _report_folder(Path(".")) == Path("outputs")
    assert _report_folder(Path("multirun")) == Path("multirun")
    assert _report_folder(tmp_path) == tmp_path
    monkeypatch.setattr(program, "checkout", lambda: None)
    assert _report_folder(Path(".")) == Path(".")


@pytest.mark.parametrize(
    ("data", "wrong"), [({"mean": [0.5]}, "input_size: Field required"), (3, "Input should be an object")]
)
def test_preprocessing_that_is_none_is_one_line(data: object, wrong: str, tmp_path: Path) -> None:
    import timm

    with pytest.raises(ArtifactError, match=wrong) as error:
        save(tmp_path / "model.pwfn", timm.create_model("test_resnet"), data=data)  # type: ignore[arg-type]
    assert str(error.value).startswith(f"data = {data!r}: must be like timm's data config, with input_size, ")
    assert error.value.__cause__ is None
    assert not (tmp_path / "model.pwfn").exists()
