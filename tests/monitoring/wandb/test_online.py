"""Send whole runs to a server that is W&B's in all that a run can see, and look at what arrives."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from rich.console import Console

from pwfn import artifact
from pwfn.cli.evaluate_task import run as evaluate
from pwfn.config import build
from pwfn.errors import Stopped
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.monitoring.loggers.round_media import BINS
from pwfn.monitoring.run_reporter import RunReporter
from pwfn.records.metric_names import ROUND_VIEW
from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS
from pwfn.run.ending.final_files import ARTIFACT_FACTS
from pwfn.run.settings import TrainSettings
from pwfn.run.start import run
from tests.support.loggers.wandb_api import KEY, Run, WandbServer, digest
from tests.support.loggers.wandb_offline import find_runs
from tests.support.loggers.wandb_server import logged_to, wandb_server
from tests.support.project import PROJECT, SMALL, Compose, clean_environment

SECRET = "hf_hidden"  # as a user may give one
KILLED = """
import os, runpy, signal, sys
from pwfn.monitoring.run_reporter import RunReporter
add = RunReporter.add
def add_or_die(self, record, *arguments):
    if record.round == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return add(self, record, *arguments)
RunReporter.add = add_or_die
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ONLINE = ["logger=wandb", "logger.mode=online", "logger.tags=[paper,a]", "logger.group=g"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    """A server that this process logs to."""
    with wandb_server() as made, logged_to(made, tmp_path_factory.mktemp("home")):
        yield made


Start = Callable[..., None]


@pytest.fixture(scope="module")
def start(server: WandbServer, composed: Compose) -> Start:
    """`start(folder, resume=False)`: a small run that logs to the server."""
    del server

    def begin(folder: Path, resume: bool = False) -> None:
        cfg = composed(*SMALL, *ONLINE, "trainer.log_every_n_steps=2", f"logger.save_dir={folder.parent}")
        plain = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(plain, dict)
        run(build.load(TrainSettings, cfg), plain, folder, name="the name", resume=resume)

    return begin


@pytest.fixture(scope="module")
def whole(start: Start, server: WandbServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A run from its beginning to its end: its folder, and what the server has of it."""
    folder = tmp_path_factory.mktemp("online") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", f"+hub.token={SECRET}"])
        start(folder)
    (found,) = server.runs.values()
    return folder, found


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    with (folder / "rounds.csv").open(newline="") as file:
        return [{key: COLUMNS[key].read(row) for key in row} for row in csv.DictReader(file)]


def rounds_at(run: Run) -> list[dict[str, Any]]:
    """The rows of rounds; those of pictures and tables have the round, too."""
    return [row for row in run.rows if "clustered/top1" in row]


def assert_all_rounds_arrived(folder: Path, run: Run) -> None:
    """Hold the history against rounds.csv."""
    assert [{key: row.get(key) for key in COLUMNS} for row in rounds_at(run)] == rounds_of(folder)


@pytest.mark.slow
def test_every_row_of_rounds_csv_arrives_over_its_round(whole: tuple[Path, Run]) -> None:
    folder, run = whole
    rows = rounds_of(folder)
    assert len(rows) == 2
    assert_all_rounds_arrived(folder, run)
    assert {key: run.summary[key] for key in COLUMNS} == rows[-1]
    metrics = run.config["_wandb"]["value"]["m"]  # 1: its name, 2: instead a pattern, 5: number of its x-axis, from 1
    x_axes = {one["1"]: metrics[one["5"] - 1]["1"] for one in metrics if "1" in one and "5" in one}
    assert {key: x_axes.get(key) for key in (*COLUMNS, *ROUND_VIEW) if key != "round"} == dict.fromkeys(
        (key for key in (*COLUMNS, *ROUND_VIEW) if key != "round"), "round"
    )
    assert {"train/cross_entropy", "pretrained/top1", "top1_drop", "artifact_mb"} <= set(run.summary)


@pytest.mark.slow
def test_the_whole_configuration_and_what_names_the_run_arrive(whole: tuple[Path, Run]) -> None:
    folder, run = whole
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["model"].pop("args") == {}  # W&B keeps no empty section
    arrived = json.loads(json.dumps(run.values))
    assert arrived.pop("provenance")["command"]
    assert {key: saved[key] for key in arrived} == arrived
    assert set(saved) == set(arrived)
    about = run.about
    assert (about["displayName"], about["groupName"], about["jobType"]) == ("the name", "g", "train")
    assert (about["tags"], run.project, run.exit_code, run.starts) == (["paper", "a"], "pwfn", 0, 1)
    assert run.name == json.loads((folder / "summary.json").read_text())["run"]["identity"]["run_id"]


@pytest.mark.slow
def test_tables_histograms_and_pictures_arrive(whole: tuple[Path, Run]) -> None:
    folder, run = whole
    media = [row for row in run.rows if "codebook" in row]
    assert [row["round"] for row in media] == [0, 1]
    with (folder / "clusters.csv").open(newline="") as file:
        clusters = list(csv.DictReader(file))
    weights = json.loads((folder / "summary.json").read_text())["run"]["weights"]
    for row in media:
        assert run.files[row["codebook"]["path"]][:4] == b"\x89PNG"
        for key in (one for one in ROUND_VIEW if one.startswith("histogram/")):
            assert (sum(row[key]["values"]), len(row[key]["bins"])) == (weights, BINS + 1)
        (sent,) = [one for one in run.rows if "clusters" in one and one["round"] == row["round"]]
        table = json.loads(run.files[sent["clusters"]["path"]])
        mine = [one for one in clusters if int(one["round"]) == row["round"]]
        assert table["columns"] == [key for key in CLUSTER_COLUMNS if key != "round"]
        sent_rows = [dict(zip(table["columns"], one, strict=True)) for one in table["data"]]
        assert sent_rows == [{key: CLUSTER_COLUMNS[key].read(one) for key in table["columns"]} for one in mine]


@pytest.mark.slow
def test_the_artifact_arrives_with_its_bytes_and_loads(
    whole: tuple[Path, Run], server: WandbServer, tmp_path: Path
) -> None:
    folder, run = whole
    model = server.model(run.name)
    content = (folder / "model.pwfn").read_bytes()
    assert model.committed
    assert model.files == {"model.pwfn": content}
    assert model.manifest["contents"]["model.pwfn"]["digest"] == digest(content)
    header = artifact.describe(folder / "model.pwfn")
    assert json.loads(model.about["metadata"]) == {key: header[key] for key in ARTIFACT_FACTS}
    (tmp_path / "downloaded.pwfn").write_bytes(server.download(f"artifact/{model.key}/model.pwfn"))
    mine, theirs = (artifact.load(path).state_dict() for path in (folder / "model.pwfn", tmp_path / "downloaded.pwfn"))
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.slow
def test_neither_the_key_nor_a_token_is_left_anywhere(whole: tuple[Path, Run], server: WandbServer) -> None:
    folder, run = whole
    left = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert any(path.name == "wandb-metadata.json" for path in left)
    secrets = (KEY.encode(), SECRET.encode())
    assert [path for path in left if any(secret in path.read_bytes() for secret in secrets)] == []
    sent = json.dumps([run.config, run.about, run.rows, run.console]).encode() + b"".join(run.files.values())
    sent += json.dumps([one.about for one in server.artifacts.values()]).encode()
    assert [secret for secret in (KEY, SECRET) if secret.encode() in sent] == []
    # it was there to be hidden
    assert run.values["provenance"]["command"] == "train.py '+hub.token=***'"
    assert json.loads(run.files["wandb-metadata.json"])["args"] == ["+hub.token=***"]
    assert [key for key in server.keys if not key.startswith("Basic ")] == []


@pytest.mark.slow
def test_a_run_that_is_preempted_goes_on_under_its_id(
    start: Start, server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, add = set(server.runs), RunReporter.add

    def add_and_signal(*args: Any, **options: Any) -> str:
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGTERM)
        return add(*args, **options)

    monkeypatch.setattr(RunReporter, "add", add_and_signal)
    with pytest.raises(Stopped):
        start(tmp_path / "run")
    (name,) = set(server.runs) - known
    first = server.runs[name]
    assert (first.preempting, first.exit_code) == (True, 143)
    start(tmp_path / "run", resume=True)
    assert set(server.runs) - known == {name}
    assert (first.starts, first.exit_code) == (2, 0)
    assert_all_rounds_arrived(tmp_path / "run", first)


@pytest.mark.slow
def test_an_evaluation_joins_the_group_of_its_run(
    whole: tuple[Path, Run], server: WandbServer, composed: Compose, tmp_path: Path
) -> None:
    folder, known = whole[0], set(server.runs)
    options = (f"run={folder}", f"output={tmp_path / 'out'}", "logger=wandb", "logger.mode=online", "samples=0")
    cfg = composed(*options, "resamples=0", "quiet=true", f"logger.save_dir={tmp_path}", name="evaluate")
    evaluate(build.load(EvaluateSettings, cfg), Console())
    (name,) = set(server.runs) - known
    run = server.runs[name]
    assert (run.about["groupName"], run.about["jobType"], run.exit_code) == ("g", "evaluate", 0)
    assert run.values["evaluated"]["run_id"] == whole[1].name
    assert run.summary["clustered/mean/top1"] == pytest.approx(rounds_of(folder)[-1]["clustered/top1"])
    pictures = {key: row[key]["path"] for row in run.rows for key in row if key.startswith("evaluation/")}
    assert pictures.keys() >= {"evaluation/reliability", "evaluation/confusion"}
    assert {run.files[path][:4] for path in pictures.values()} == {b"\x89PNG"}


def program(server: WandbServer, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Start Python in `folder`, with the server as W&B's."""
    environment = clean_environment(**server.environment(folder / "home"), COLUMNS="200")
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.slow
def test_a_sweep_of_two_jobs_is_a_group_of_two_runs(server: WandbServer, tmp_path: Path) -> None:
    known = set(server.runs)
    options = ["logger=wandb", "logger.mode=online", "hydra.sweep.dir=sweep-7", "seed=0,1", "hydra/launcher=basic"]
    done = program(server, tmp_path, str(PROJECT / "train.py"), "-m", *SMALL, *options)
    assert done.returncode == 0, done.stderr
    runs = [server.runs[name] for name in set(server.runs) - known]
    assert sorted(run.values["seed"] for run in runs) == [0, 1]
    assert {run.about["groupName"] for run in runs} == {f"{tmp_path.name}/sweep-7"}
    assert [run.exit_code for run in runs] == [0, 0]
    assert len({run.about["displayName"] for run in runs}) == 2
    for one in runs:
        (folder,) = (tmp_path / "sweep-7").glob(f"*seed-{one.values['seed']}")
        assert_all_rounds_arrived(folder, one)
        assert server.model(one.name).files == {"model.pwfn": (folder / "model.pwfn").read_bytes()}


@pytest.mark.slow
def test_a_run_whose_process_was_killed_goes_on_under_its_id(server: WandbServer, tmp_path: Path) -> None:
    known, options = set(server.runs), ["logger=wandb", "logger.mode=online", "hydra.run.dir=run"]
    done = program(server, tmp_path, "-c", KILLED, str(PROJECT / "train.py"), *SMALL, *options)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (name,) = set(server.runs) - known
    run = server.runs[name]
    assert run.exit_code != 0
    done = program(server, tmp_path, str(PROJECT / "train.py"), "resume=run")
    assert done.returncode == 0, done.stderr
    assert set(server.runs) - known == {name}
    assert (run.starts, run.exit_code) == (2, 0)
    assert_all_rounds_arrived(tmp_path / "run", run)
    assert server.model(name).files == {"model.pwfn": (tmp_path / "run" / "model.pwfn").read_bytes()}


@pytest.mark.slow
def test_an_offline_run_is_uploaded_whole_from_another_folder(
    small_run: Callable[..., Any], server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = set(server.runs)
    monkeypatch.delenv("WANDB_DATA_DIR")
    here, there = tmp_path / "here", tmp_path / "there"
    small_run(here / "run", "logger=wandb", f"logger.save_dir={here}", "logger.tags=[later]", "logger.group=g")
    assert set(server.runs) == known
    find_runs(here)
    shutil.move(here, there)
    here.symlink_to(there)  # W&B has noted where tables and artifacts are
    (folder,) = there.glob("wandb/offline-run-*")
    done = program(server, there, "-m", "wandb", "sync", str(folder.relative_to(there)))
    assert done.returncode == 0, done.stderr
    (name,) = set(server.runs) - known
    run = server.runs[name]
    assert_all_rounds_arrived(there / "run", run)
    saved = yaml.safe_load((there / "run" / "config.yaml").read_text())
    assert run.values["optimizer"] == saved["optimizer"]
    assert (run.about["tags"], run.about["groupName"], run.about["jobType"]) == (["later"], "g", "train")
    assert (run.exit_code, run.summary["round"]) == (0, 1)
    assert {"codebook", "clusters"} <= {key for row in run.rows for key in row}
    tables = [
        one for one in server.artifacts.values() if one.about["runName"] == name and "clusters.table.json" in one.files
    ]
    assert len(tables) == 2
    assert server.model(name).files == {"model.pwfn": (there / "run" / "model.pwfn").read_bytes()}


@pytest.mark.slow
def test_of_an_offline_run_that_was_resumed_the_newest_folder_has_all_rounds(
    server: WandbServer, tmp_path: Path
) -> None:
    known, options = set(server.runs), ["logger=wandb", "logger.mode=offline", "hydra.run.dir=run"]
    done = program(server, tmp_path, "-c", KILLED, str(PROJECT / "train.py"), *SMALL, *options)
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = program(server, tmp_path, str(PROJECT / "train.py"), "resume=run")
    assert done.returncode == 0, done.stderr
    assert set(server.runs) == known
    older, newest = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("wandb/offline-run-*"))
    # W&B may stop where the process was killed and leave out the newer folder: it depends on what had been written
    program(server, tmp_path, "-m", "wandb", "sync", str(older), str(newest))
    done = program(server, tmp_path, "-m", "wandb", "sync", str(newest))
    assert done.returncode == 0, done.stderr
    (name,) = set(server.runs) - known
    run = server.runs[name]
    arrived = {row["round"]: {key: row.get(key) for key in COLUMNS} for row in rounds_at(run)}
    assert list(arrived.values()) == rounds_of(tmp_path / "run")
    assert (run.exit_code, run.summary["round"]) == (0, 1)
    assert server.model(name).files == {"model.pwfn": (tmp_path / "run" / "model.pwfn").read_bytes()}
