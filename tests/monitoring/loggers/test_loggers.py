"""Every logger gets the same keys, starts and ends its own run, and is sent no secret."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger, Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pwfn.errors import InvalidValueError
from pwfn.monitoring.loggers.spec import Csv, NoLogger, TensorBoard, run_logger
from pwfn.monitoring.wandb.spec import Wandb
from pwfn.records.rounds import COLUMNS
from tests.support.project import CONF
from tests.support.runs.round_records import record, view

LOGGERS = CONF / "logger"
pytestmark = pytest.mark.usefixtures("wandb_folders")


def test_csv_logger_gets_the_row_under_the_steps_made(tmp_path: Path) -> None:
    spec = Csv()
    logger = spec.build(config={}, name="first", folder=tmp_path, group=None)
    assert isinstance(logger, Logger)
    logger.log_metrics({"train/loss": 0.5}, step=7)
    told = run_logger(logger)
    told.start_rounds(COLUMNS)
    told.report_round(record(1).numbers())
    told.report_summary({"top1_drop": 1.25})
    spec.close(logger, 0)
    with (tmp_path / "training" / "version_0" / "metrics.csv").open(newline="") as file:
        train, row, final = csv.DictReader(file)
    assert (train["step"], train["train/loss"], train["round"]) == ("7", "0.5", "")
    assert (final["step"], final["top1_drop"], final["round"]) == ("71", "1.25", "")
    assert row.pop("step") == "71"
    assert row.pop("train/loss") == row.pop("top1_drop") == ""
    assert {key: COLUMNS[key].read(row) for key in row} == record(1).numbers()


def test_tensorboard_gets_the_same_keys_histograms_and_pictures(tmp_path: Path) -> None:
    spec = TensorBoard()
    logger = spec.build(config={"hub": {"token": "hf_secret"}}, name="first", folder=tmp_path, group=None)
    assert isinstance(logger, Logger)
    logger.log_metrics({"train/loss": 0.5}, step=7)
    told = run_logger(logger)
    told.start_rounds(COLUMNS)
    told.report_round(record(1).numbers(), view())
    told.report_summary({"top1_drop": 1.25})
    spec.close(logger, 0)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {*record(1).numbers(), "train/loss", "top1_drop"}
    for key, value in record(1).numbers().items():
        (event,) = events.Scalars(key)
        assert event.step == 71
        assert event.value == pytest.approx(value, rel=1e-6)
    (bars,) = events.Histograms("histogram/mu")
    assert bars.histogram_value.bucket[-2:] == [3.0, 1.0]
    assert bars.histogram_value.num == 4
    assert bars.step == 71
    (picture,) = events.Images("codebook")
    assert (picture.width, picture.height) == (5, 4)
    assert not any(b"hf_secret" in path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())


def test_only_loggers_that_show_pictures_ask_for_them(tmp_path: Path) -> None:
    wanted = {
        spec: run_logger(spec.build(config={}, name="n", folder=tmp_path, group=None)).takes_pictures
        for spec in (NoLogger(), Csv(), TensorBoard(), Wandb(), Wandb(mode="disabled"))
    }
    assert list(wanted.values()) == [False, False, True, True, False]


def test_no_logger_takes_everything(tmp_path: Path) -> None:
    spec = NoLogger()
    logger = spec.build(config={}, name="first", folder=tmp_path, group=None)
    assert logger is None
    told = run_logger(logger)
    told.start_rounds(COLUMNS)
    told.report_round(record(0).numbers(), view())
    told.report_again([])
    told.report_summary({})
    told.report_pictures({})
    told.report_artifact(tmp_path, {})
    told.mark_preempting()
    spec.close(logger, 1)
    assert list(tmp_path.iterdir()) == []


def test_bad_values_are_refused_all_at_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Wandb(mode="ofline", project="a/b", tags="paper", save_dir="")  # type: ignore[arg-type]
    assert [fault.name for fault in caught.value.faults] == ["project", "mode", "tags", "save_dir"]


@pytest.mark.parametrize(
    ("name", "kind"), [("wandb", Wandb), ("csv", Csv), ("tensorboard", TensorBoard), ("none", NoLogger)]
)
def test_every_option_of_conf_builds_with_its_defaults(name: str, kind: type) -> None:
    values = yaml.safe_load((LOGGERS / f"{name}.yaml").read_text())
    assert values.pop("_target_") == f"pwfn.monitoring.{kind.__name__}"
    assert kind(**values) == kind()
    assert set(values) == set(kind.__dataclass_fields__)


def test_importing_the_module_is_light() -> None:
    heavy = "('torch', 'wandb', 'pytorch_lightning')"
    program = f"import sys, pwfn.monitoring.loggers.spec; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_plain_lightning_logger_needs_no_spec(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="mine")
    run_logger(logger).report_round(record(0).numbers())
    assert "clustered/top1" in (tmp_path / "mine" / "version_0" / "metrics.csv").read_text()
