"""Send whole runs to a server that is W&B's in all that a run can see, and look at what arrives."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from pwfn import artifact
from pwfn.cli.evaluate_task import run as evaluate
from pwfn.config import build
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.monitoring.loggers.round_media import BINS
from pwfn.records.metric_names import ROUND_VIEW
from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS
from pwfn.run.ending.final_files import ARTIFACT_FACTS
from tests.support.loggers.wandb_api import WandbServer
from tests.support.loggers.wandb_online import Start, assert_all_rounds_arrived, program, rounds_of
from tests.support.loggers.wandb_records import KEY, Run, digest
from tests.support.project import PROJECT, SMALL, Compose

SECRET = "hf_hidden"  # as a user may give one


@pytest.fixture(scope="module")
def whole(start: Start, server: WandbServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A run from its beginning to its end: its folder, and what the server has of it."""
    folder = tmp_path_factory.mktemp("online") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", f"+hub.token={SECRET}"])
        start(folder)
    (found,) = server.runs.values()
    return folder, found


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
