"""The artifact of a run: written by itself, true to the run, and measured where nothing else of the run is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pwfn
from pwfn import export
from pwfn.bayesian.state_dict import plain_state
from pwfn.cli.evaluate_task import evaluate
from pwfn.config.preflight import preflight
from pwfn.data import DataError, Digits, ImageData, Synthetic
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.run_subject import rebuilt_settings
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.run.ending.write_artifact import write_run_artifact
from pwfn.run.start import Finished
from tests.support.documents import commands_of
from tests.support.evaluation import measured, settings
from tests.support.project import PROJECT, Compose, Program

SmallRun = Callable[..., Finished]
IMAGES = Synthetic(
    channels=1, num_classes=10, pixels=32, train_size=64, test_size=60, noise=0.5, batch_size=32, image_size=32
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(finished_run: Finished) -> Finished:
    return finished_run


def test_a_run_ends_with_its_final_network_in_one_file(finished: Finished) -> None:
    model = pwfn.load(finished.folder / "model.pwfn")
    images = torch.randn(8, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), finished.network.eval()(images))
    said = pwfn.describe(finished.folder / "model.pwfn")
    assert said["metrics"]["final"] == finished.records[-1].flat()
    assert said["metrics"]["pretrained"]["top1"] == finished.baseline.top1
    assert said["model"]["name"] == "test_resnet.r160_in1k"
    assert said["model"]["num_classes"] == 10
    assert said["data"]["input_size"] == [1, 32, 32]
    assert len(said["data"]["mean"]) == 1
    assert said["config"]["schedule"]["fractions"] == [0.6, 1.0]
    assert said["config"]["seed"] == 0
    assert said["receipt"]["entropy_bits"] == pytest.approx(finished.records[-1].entropy_bits, rel=1e-12)
    assert len(said["codebook"]["numerators"]) == finished.records[-1].codebook_size


def test_the_receipt_is_kept(finished: Finished) -> None:
    size = (finished.folder / "model.pwfn").stat().st_size
    receipt = json.loads((finished.folder / "summary.json").read_text())["run"]["artifact"]
    assert receipt["file"] == size
    assert receipt["zip"] < receipt["float32"]
    said = pwfn.describe(finished.folder / "model.pwfn")
    assert {**said["receipt"], "file": said["file"]} == receipt


def test_every_round_leaves_one_on_request(finished: Finished) -> None:
    assert sorted(path.name for path in finished.folder.glob("*.pwfn")) == ["model.pwfn", "round_1.pwfn"]
    said = pwfn.describe(finished.folder / "round_1.pwfn")
    assert said["metrics"]["final"] == finished.records[0].flat()
    assert said["free"] == said["weights"] - -(-said["weights"] * 6 // 10)
    pwfn.load(finished.folder / "round_1.pwfn")


@pytest.mark.parametrize("more", [(), ("finish=unquantised", "finish.epochs=1")], ids=["rounds", "finishing"])
def test_the_figures_are_those_of_the_network_in_the_file(
    more: tuple[str, ...], small_run: SmallRun, tmp_path: Path
) -> None:
    """Folded and in float16, the file gives the network that was measured last, and that evaluation finds."""
    run = tmp_path / "run"
    finished = small_run(run, "artifact.plain=folded_float16", *more)
    said = pwfn.describe(run / "model.pwfn")
    assert said["plain_form"] == "folded_float16"
    assert said["metrics"]["final"] == finished.records[-1].flat()
    loaded, wanted = pwfn.load(run / "model.pwfn").state_dict(), plain_state(finished.network)
    assert [key for key in loaded if not torch.equal(loaded[key], wanted[key])] == []
    again = measured(artifact=str(run / "model.pwfn"), data=IMAGES, output=str(tmp_path / "out"))
    assert again.at_mean == {"clustered": finished.records[-1].clustered}


def test_a_form_chosen_after_the_last_test_is_refused(finished: Finished, tmp_path: Path) -> None:
    run, _ = rebuilt_settings(finished.folder)
    later = replace(run, artifact=replace(run.artifact, plain="float16"))
    with pytest.raises(pwfn.ArtifactError, match="measured before this form was asked for"):
        write_run_artifact(tmp_path, finished.network, later, {}, finished.baseline, finished.records[-1])
    assert list(tmp_path.iterdir()) == []


def test_its_scores_equal_the_record_where_nothing_else_of_the_run_is(finished: Finished, tmp_path: Path) -> None:
    path = tmp_path / "taken.home"
    path.write_bytes((finished.folder / "model.pwfn").read_bytes())
    again = measured(artifact=str(path), data=IMAGES, samples=2, output=str(tmp_path / "out"))
    assert again.at_mean == {"clustered": finished.records[-1].clustered}
    assert {row.mode: row.figures["nll"] for row in again.rows}.keys() == {"mean", "sample", "ensemble"}
    written = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert written["recorded"]["clustered"]["equal"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (replace(IMAGES, num_classes=7), "7 classes, the network of .* 10"),
        (replace(IMAGES, channels=3), "3 channels, the network of .* takes 1"),
    ],
    ids=["classes", "channels"],
)
def test_images_that_do_not_fit_are_refused(data: ImageData, said: str, finished: Finished) -> None:
    with pytest.raises(DataError, match=said):
        subject_of(settings(artifact=str(finished.folder / "model.pwfn"), data=data))


def test_other_classes_are_refused_and_another_size_is_said(finished: Finished, tmp_path: Path) -> None:
    run, _ = rebuilt_settings(finished.folder)
    digits = Digits(image_size=32, test_images=50)
    run = replace(run, data=digits)
    receipt = write_run_artifact(
        tmp_path,
        finished.network,
        run,
        {"api_key": "hush", "trainer": {"precision": "bf16-mixed"}},
        finished.baseline,
        finished.records[-1],
    )
    assert receipt.zip is not None
    text = json.dumps(pwfn.describe(tmp_path / "model.pwfn"))
    assert "hush" not in text
    assert '"api_key": "***"' in text
    with pytest.raises(DataError, match=r"classes a, b, c and 7 more, the network of .* 0, 1, 2 and 7 more") as error:
        subject_of(settings(artifact=str(tmp_path / "model.pwfn"), data=OtherNames(image_size=32)))
    assert "\n" not in str(error.value)
    other = subject_of(settings(artifact=str(tmp_path / "model.pwfn"), data=replace(digits, image_size=64)))
    assert other.precision == "bf16-mixed"
    assert other.notes == ["Images are prepared as the artifact says, at 32 x 32 pixels."]


class OtherNames(Digits):
    class_names = tuple("abcdefghij")


def test_a_model_that_an_artifact_cannot_name_is_said_at_once(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match="block_reduce_first"):
        finished = small_run(tmp_path, "+model.args.block_reduce_first=2", "quiet=false")
    console = capsys.readouterr().out
    assert "warning: model.pwfn will not say how to build the model: model argument 'block_reduce_first'" in console
    assert console.index("will not say") < console.index("round 1")
    model = rebuilt_settings(tmp_path)[0].model.build(num_classes=10, in_chans=1, load_weights=False)
    loaded = pwfn.load(tmp_path / "model.pwfn", model=model)
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), finished.network.eval()(images))


def test_what_the_readme_says_of_taking_it_home(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs/mine"  # where the command above it in the README has put the file
    folder.mkdir(parents=True)
    shutil.copy(finished.folder / "model.pwfn", folder)
    monkeypatch.chdir(tmp_path)
    ((snippet,),) = [re.findall(r"```python\n(import pwfn\n.*?)```", (PROJECT / "README.md").read_text(), re.S)]
    exec(snippet, (names := {}))
    assert not names["model"].training
    (measure,) = (c for c in commands_of(PROJECT / "README.md", "python evaluate.py") if c[2].startswith("artifact="))
    preflight(EvaluateSettings, PROJECT / "conf", "evaluate", measure[2:])
    exports = commands_of(PROJECT / "README.md", "python -m pwfn.export")
    assert len(exports) == 2
    for command in exports:
        assert export.main(command[3:]) == 0
    assert capsys.readouterr().err == ""
    assert {path.name for path in folder.iterdir()} == {"model.pwfn", "model.safetensors", "model.onnx"}


def test_evaluate_measures_an_artifact(program: Program, smoke: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pwfn").write_bytes((smoke / "run/model.pwfn").read_bytes())
    images = ("data=synthetic", "data.noise=0.5", "data.train_size=200", "data.test_size=150")
    done = program(tmp_path, "evaluate.py", "artifact=model.pwfn", *images)
    assert done.returncode == 0, done.stderr
    assert "equal the artifact's record" in done.stdout
    assert "written without sigmas" in done.stdout
    assert "entropy bound of the whole network" in (smoke / "console.txt").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"model.pwfn", "evaluation"}


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["artifact=nowhere", "run=nowhere"], ["run = 'nowhere'", "artifact = 'nowhere'", "data = None"]),
        ([], ["run = None"]),
        (["run=nowhere", "data=digits"], ["data = 'Digits'"]),
        (["run=nowhere", "artfact=x"], ["artfact = 'x'"]),
    ],
    ids=["both", "neither", "data of a run", "mistyped"],
)
def test_exactly_one_of_run_and_artifact(
    overrides: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        preflight(EvaluateSettings, PROJECT / "conf", "evaluate", overrides)
    said = capsys.readouterr().err.splitlines()[1:]
    assert [line for line, wanted in zip(said, lines, strict=True) if wanted not in line] == []


def test_a_damaged_artifact_ends_evaluation_in_one_line(
    finished: Finished, composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pwfn").write_bytes((finished.folder / "model.pwfn").read_bytes()[:-1])
    with pytest.raises(SystemExit) as exit_:
        evaluate(composed(f"artifact={tmp_path}/model.pwfn", "data=digits", name="evaluate"))
    assert exit_.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
