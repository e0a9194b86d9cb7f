"""What a finished run leaves, and what can be done with a run that kept its result alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pwfn.checkpoint.saved_run import NotAFinishedRun
from pwfn.cli import resume
from pwfn.evaluation.find_subject import subject_of
from pwfn.records.files import NETWORKS
from pwfn.run.ending.kept_files import left_out, settle_files
from pwfn.run.settings import TrainSettings
from pwfn.run.start import Finished
from tests.support.evaluation import measured, settings
from tests.support.project import CONF


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "evaluation").mkdir(parents=True)
    for name in NETWORKS:
        (folder / name).write_bytes(bytes(1_000_000))
    (folder / "model.pwfn").write_bytes(bytes(150_000))
    (folder / "evaluation/a.png").write_bytes(bytes(50_000))
    return folder


@pytest.mark.parametrize(
    ("keep", "in_a_sweep", "names"),
    [
        ("auto", False, ()),
        ("auto", True, NETWORKS),
        ("all", True, ()),
        ("result", False, NETWORKS),
    ],
)
def test_runs_of_sweeps_keep_their_result_alone(keep: str, in_a_sweep: bool, names: tuple[str, ...]) -> None:
    assert left_out(keep, in_a_sweep=in_a_sweep) == names  # type: ignore[arg-type]


def test_the_size_of_what_is_left_and_removed(folder: Path) -> None:
    line = settle_files(folder, ())
    assert line == f"{folder} takes 3.2 MB, networks 3.0 MB of it (keep=result leaves them out)"
    line = settle_files(folder, NETWORKS)
    assert line == f"{folder} takes 0.2 MB; networks were removed, 3.0 MB (keep=all keeps them)"
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation", "model.pwfn"]
    assert settle_files(folder, NETWORKS) == f"{folder} takes 0.2 MB"


@pytest.fixture(scope="module")
def result_alone(small_run, tmp_path_factory: pytest.TempPathFactory) -> Finished:  # type: ignore[no-untyped-def]
    return small_run(tmp_path_factory.mktemp("result") / "run", "keep=result")


def test_its_files(result_alone: Finished) -> None:
    names = {path.name for path in result_alone.folder.iterdir()}
    assert {"model.pwfn", "rounds.json", "result.json", "summary.json", "config.yaml", "weights.png"} <= names
    assert not names & {*NETWORKS, "checkpoints"}


def test_it_is_evaluated_from_its_artifact(result_alone: Finished, tmp_path: Path) -> None:
    asked = {"run": str(result_alone.folder), "output": str(tmp_path), "samples": 3}
    subject = subject_of(settings(**asked))
    assert list(subject.networks) == ["clustered"]
    assert subject.learned == ()
    assert any("its clustered network is that of model.pwfn" in note for note in subject.notes)
    assert any("No ensemble: the artifact was written without sigmas" in note for note in subject.notes)
    assert measured(**asked).at_mean == {"clustered": result_alone.records[-1].clustered}


def test_without_its_artifact_one_line_says_what_is_missing(result_alone: Finished, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(result_alone.folder, tmp_path / "run"))
    (folder / "model.pwfn").unlink()
    with pytest.raises(NotAFinishedRun) as refused:
        subject_of(settings(run=str(folder)))
    line = str(refused.value)
    assert line.startswith(f"{folder} cannot be evaluated: it has no network.safetensors (keep=result removes it)")
    assert "\n" not in line


def test_there_is_nothing_to_resume(result_alone: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    resume.resume(CONF, "train", [f"resume={result_alone.folder}", "keep=all"])
    assert capsys.readouterr().out.endswith("is finished, there is nothing to resume\n")


def test_a_mistake_is_refused(composed) -> None:  # type: ignore[no-untyped-def]
    from pwfn.config import build

    with pytest.raises(build.ConfigError, match="keep = 'results': must be one of auto, all, result; the nearest is"):
        build.load(TrainSettings, composed("keep=results"))
