"""MLflow is told what the other loggers are told, and a run never ends or waits because of it."""

from __future__ import annotations

import csv
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from pwfn.config import build
from pwfn.errors import InvalidValueError
from pwfn.monitoring import Csv, MLflow, Several
from pwfn.monitoring.loggers.background import Background
from pwfn.monitoring.loggers.round_media import RoundView
from pwfn.monitoring.loggers.several_loggers import spelled_out
from pwfn.monitoring.loggers.spec import run_logger
from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS
from pwfn.run.settings import TrainSettings
from pwfn.run.start import run as run_training
from tests.support.browser import needs_chromium
from tests.support.loggers.dashboards import free_port, look_at
from tests.support.loggers.told_loggers import told
from tests.support.project import CONF, SMALL, Compose, clean_environment
from tests.support.runs.round_records import cluster, record

pytestmark = [
    pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is an extra"),
    pytest.mark.slow,  # MLflow takes seconds to be imported and to make its database
]


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def client() -> Callable[[Path], Any]:
    from mlflow.tracking import MlflowClient

    return lambda folder: MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def runs_of(client: Any, name: str = "pwfn") -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name(name).experiment_id]))


def test_the_options_of_conf_are_those_of_the_class() -> None:
    values = yaml.safe_load((CONF / "logger" / "mlflow.yaml").read_text())
    assert values.pop("_target_") == "pwfn.monitoring.MLflow"
    assert MLflow(**values) == MLflow()
    assert set(values) == set(MLflow.__dataclass_fields__)


def test_bad_values_are_refused_all_at_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        MLflow(tracking_uri="mlruns", experiment=" ", save_dir="")
    assert [fault.name for fault in caught.value.faults] == ["tracking_uri", "experiment", "save_dir"]


def test_a_run_has_the_same_keys_the_config_and_its_end(tmp_path: Path, client: Any) -> None:
    folder = tmp_path / "mlruns"
    told(MLflow(save_dir=str(folder)), tmp_path)
    (run,) = runs_of(client(folder))
    assert set(run.data.metrics) == {*record(1).numbers(), "train/loss", "top1_drop"}
    for key in ("clustered/top1", "entropy_bits"):
        history = client(folder).get_metric_history(run.info.run_id, key)
        assert [(one.step, one.value) for one in history] == [
            (record(number).steps, pytest.approx(record(number).numbers()[key])) for number in range(2)
        ]
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {"seed": "3"}
    assert (run.data.tags["pwfn/run_id"], run.data.tags["pwfn/group"]) == ("0123abcd", "g")


def test_tables_pictures_and_the_artifact_are_files_of_the_run(tmp_path: Path, client: Any) -> None:
    folder, picture = tmp_path / "mlruns", np.zeros((4, 5, 3), np.uint8)
    (tmp_path / "model.pwfn").write_bytes(b"weights")
    spec = MLflow(save_dir=str(folder))
    config = {"optimizer": {"lr": 0.1, "none": None}, "hub": {"token": "hf_secret"}, "list": [1, 2]}
    logger = spec.build(config=config, name="n", folder=tmp_path, group=None, run_id="1")
    everyone = run_logger(logger)
    assert everyone.takes_pictures
    everyone.start_rounds(COLUMNS)
    everyone.report_round(record(0).numbers(), RoundView({}, [cluster(-0.5), cluster(0.25)], picture))
    everyone.report_pictures({"evaluation/reliability": picture, "other": picture})
    everyone.report_artifact(tmp_path / "model.pwfn", {"weights": 4})
    spec.close(logger, 0)
    (run,) = runs_of(client(folder))
    params = {"optimizer.lr": "0.1", "optimizer.none": "None", "hub.token": "***", "list": "[1, 2]"}
    assert run.data.params == params
    files = Path(run.info.artifact_uri.removeprefix("file://"))
    assert files.is_relative_to(folder / "artifacts")
    table = yaml.safe_load((files / "clusters" / "round_000.json").read_text())
    assert table["columns"] == [key for key in CLUSTER_COLUMNS if key != "round"]
    assert [row[0] for row in table["data"]] == [-0.5, 0.25]
    assert (files / "evaluation" / "reliability.png").read_bytes()[:4] == b"\x89PNG"
    assert (files / "other.png").is_file()
    assert len(list((files / "images").glob("codebook*.png"))) == 1
    assert (files / "model" / "model.pwfn").read_bytes() == b"weights"


def test_a_resumed_run_goes_on_in_the_same_one(tmp_path: Path, client: Any) -> None:
    spec = MLflow(save_dir=str(tmp_path), experiment="mine")
    for part, code in ((0, 1), (1, 0)):
        about: dict[str, Any] = {"name": "n", "folder": tmp_path, "group": None, "run_id": "0123abcd"}
        logger = spec.build(config={"seed": part}, **about)
        run_logger(logger).report_round(record(part).numbers())
        spec.close(logger, code)
        (run,) = runs_of(client(tmp_path), "mine")
        assert run.info.status == ("FAILED" if code else "FINISHED")
    history = client(tmp_path).get_metric_history(run.info.run_id, "round")
    assert [one.value for one in history] == [0, 1]
    assert run.data.params == {"seed": "0"}  # it was started with


def test_runs_that_start_at_once_share_a_new_database(tmp_path: Path, client: Any) -> None:
    def one(number: int) -> None:
        spec = MLflow(save_dir=str(tmp_path))
        logger = spec.build(config={}, name=f"n{number}", folder=tmp_path, group=None, run_id=str(number))
        assert logger is not None
        logger.log_metrics({"train/loss": number}, step=1)
        spec.close(logger, 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(4)))
    runs = runs_of(client(tmp_path))
    assert sorted((run.info.run_name, run.data.metrics["train/loss"]) for run in runs) == [
        (f"n{number}", number) for number in range(4)
    ]


def test_a_place_that_cannot_be_written_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spec = MLflow(save_dir=str(tmp_path / "file" / "below"))
    with pytest.warns(RuntimeWarning, match="'first' is not complete") as caught:
        told(spec, tmp_path)
    assert len([one for one in caught if "MLflow run" in str(one.message)]) == 1


def test_a_run_does_not_wait_for_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    from pwfn.monitoring.loggers.mlflow_logger import MLflowRunLogger

    go_on, started = threading.Event(), MLflowRunLogger._started
    monkeypatch.setattr(MLflowRunLogger, "_started", lambda self: (go_on.wait(120), started(self))[1])
    spec = MLflow(save_dir=str(tmp_path))
    logger = spec.build(config={}, name="n", folder=tmp_path, group=None, run_id="1")
    assert logger is not None
    for step in range(3):
        logger.log_metrics({"train/loss": 0.5}, step=step)  # would wait for ever, were it not for the thread
    assert not list(tmp_path.iterdir())
    go_on.set()
    spec.close(logger, 0)
    (run,) = runs_of(client(tmp_path))
    assert len(client(tmp_path).get_metric_history(run.info.run_id, "train/loss")) == 3


def test_what_has_not_arrived_in_time_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Background, "finish", lambda self, seconds: False)
    spec = MLflow(save_dir=str(tmp_path))
    logger = spec.build(config={}, name="n", folder=tmp_path, group=None, run_id="1")
    assert logger is not None
    logger.log_metrics({"train/loss": 0.5}, step=1)
    with pytest.warns(RuntimeWarning, match="no answer"):
        spec.close(logger, 0)
    monkeypatch.undo()
    assert logger._background.finish(120)  # type: ignore[attr-defined]


def test_the_variables_of_mlflow_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    monkeypatch.chdir(tmp_path)
    told(MLflow(save_dir="unused"), tmp_path)
    assert [run.info.run_name for run in runs_of(client(tmp_path), "theirs")] == ["first"]
    assert not (tmp_path / "unused").exists()


def test_a_run_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec = MLflow(save_dir=str(tmp_path / "mlruns"))
        spec.close(spec.build(config={}, name="n", folder=tmp_path, group=None), 1)
        spec.close(None, 1)
    assert not list(tmp_path.iterdir())


def test_it_is_one_of_several(tmp_path: Path, client: Any) -> None:
    told(Several(mlflow=MLflow(save_dir=str(tmp_path)), csv=Csv()), tmp_path)
    (run,) = runs_of(client(tmp_path))
    assert run.data.metrics["top1_drop"] == 1.25
    assert (tmp_path / "training" / "version_0" / "metrics.csv").is_file()


def test_a_whole_run_sends_the_keys_that_the_csv_file_gets(tmp_path: Path, client: Any, composed: Compose) -> None:
    several = spelled_out(["logger=[csv,mlflow]"])
    cfg = composed(*SMALL, *several, f"logger.mlflow.save_dir={tmp_path}", "trainer.log_every_n_steps=2")
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    run_training(build.load(TrainSettings, cfg), config, tmp_path / "run", name="the name")
    (run,) = runs_of(client(tmp_path))
    with (tmp_path / "run" / "training" / "version_0" / "metrics.csv").open(newline="") as file:
        columns = set(csv.DictReader(file).fieldnames or ()) - {"step"}
    assert set(run.data.metrics) == columns
    assert {"train/cross_entropy", "clustered/top1", "artifact_mb"} <= columns
    assert (run.info.run_name, run.info.status) == ("the name", "FINISHED")
    assert (run.data.params["codebook.b"], run.data.params["seed"]) == (str(cfg.codebook.b), "0")


@pytest.mark.browser
@needs_chromium
def test_its_dashboard_shows_the_run(tmp_path: Path, client: Any) -> None:
    folder, port = tmp_path / "mlruns", free_port()
    told(MLflow(save_dir=str(folder)), tmp_path)
    (run,) = runs_of(client(folder))
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    wanted = ("first", "clustered/top1", "98.17", "top1_drop")
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    look_at(command, port, page, wanted, tmp_path, **clean_environment(MLFLOW_DISABLE_TELEMETRY="true"))


def test_the_spec_is_light() -> None:
    program = "import sys, pwfn.monitoring; print([m for m in ('torch', 'mlflow') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
