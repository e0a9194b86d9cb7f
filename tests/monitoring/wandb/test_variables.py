"""W&B's environment variables speak where the configuration is silent, and both are held to W&B's limits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pytest
import wandb

from pwfn.errors import InvalidValueError
from pwfn.monitoring.loggers.round_media import RoundView
from pwfn.monitoring.wandb.spec import Wandb
from pwfn.monitoring.wandb.variables import VARIABLES, shortened
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.loggers.wandb_runs import build, whole_run
from tests.support.project import PROJECT
from tests.support.runs.round_records import cluster, record

pytestmark = pytest.mark.usefixtures("wandb_folders")

BLACK = np.zeros((4, 5, 3), np.uint8)
SPOKEN = {
    "WANDB_PROJECT": "mine",
    "WANDB_ENTITY": "team",
    "WANDB_RUN_GROUP": "together",
    "WANDB_TAGS": "paper, first",
    "WANDB_NOTES": "why, and how",
    "WANDB_JOB_TYPE": "debug",
}


@pytest.fixture
def spoken(wandb_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del wandb_folders  # which has forgotten what the variables said before
    for name, value in SPOKEN.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("spoken")
def test_variables_are_used_where_the_configuration_is_silent(tmp_path: Path) -> None:
    """WANDB_DIR is one of `wandb_folders`."""
    whole_run(Wandb(), tmp_path, "first", rounds=1)
    (path,) = find_runs(tmp_path)
    run = read_run(path)
    assert (run.project, run.group, run.job_type, run.tags) == ("mine", "together", "debug", ["paper", "first"])
    assert (run.entity, run.notes) == ("team", "why, and how")


@pytest.mark.usefixtures("spoken")
def test_the_configuration_takes_precedence_and_a_remark_names_both(tmp_path: Path) -> None:
    spec = Wandb(project="other", group="g", tags=("t",), job_type="debug", save_dir=str(tmp_path))
    whole_run(spec, tmp_path, "first", rounds=1)
    (path,) = find_runs(tmp_path)
    run = read_run(path)
    assert (run.project, run.group, run.tags) == ("other", "g", ["t"])
    assert [remark.split(" ")[0] for remark in spec.remarks] == ["logger.project", "logger.group", "logger.tags"]
    assert spec.remarks[0] == "logger.project = 'other' takes precedence over WANDB_PROJECT = 'mine'"


@pytest.mark.parametrize(("value", "mode"), [("dryrun", "offline"), ("disabled", "disabled"), ("run", "online")])
def test_the_mode_may_come_from_the_environment(
    value: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", value)
    started: list[str] = []

    def init(**options: Any) -> None:
        started.append(options["mode"])
        raise wandb.errors.CommError("enough")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.warns(RuntimeWarning, match="cannot start"):
        _ = build(Wandb(), tmp_path).experiment
    assert started[0] == mode


def test_name_and_id_come_from_the_environment_but_not_for_all_runs_of_a_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_NAME", "named")
    monkeypatch.setenv("WANDB_RUN_ID", "0123")
    spec = Wandb()
    assert (spec.name_of(None, "seed=1"), spec.name_of("chosen", "seed=1")) == ("named", "chosen")
    assert (spec.new_run_id(None), spec.new_run_id("sweep-7")) == ("0123", None)
    assert spec.remarks_on("named", "0123") == []
    monkeypatch.setenv("WANDB_NAME", "   ")
    assert spec.name_of(None, "seed=1") == "seed=1"
    monkeypatch.setenv("WANDB_NAME", "named")
    assert spec.remarks_on("named", "4567") == ["WANDB_RUN_ID = '0123' is not used: this run is '4567'"]


def test_evaluations_have_a_job_type_of_their_own_unless_one_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Wandb().for_evaluation().job_type == "evaluate"
    assert Wandb(job_type="mine").for_evaluation().job_type == "mine"
    monkeypatch.setenv("WANDB_JOB_TYPE", "debug")
    assert Wandb().for_evaluation().job_type == "debug"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tags", ("",)),
        ("tags", ("t" * 65,)),
        ("tags", "paper"),
        ("tags", ("first", "  ")),
        ("group", "  "),
        ("project", "  "),
        ("project", "p" * 129),
        ("project", ""),
        ("entity", ""),
        ("group", "g" * 129),
        ("job_type", "j" * 65),
        ("mode", "ofline"),
        ("save_dir", ""),
    ],
)
def test_what_wandb_would_not_take_is_refused_before_the_start(key: str, value: Any) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Wandb(**{key: value})
    assert [fault.name for fault in caught.value.faults] == [key]


def test_so_is_what_a_variable_says_and_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TAGS", "a,," + "b"), ("MODE", "nowhere"), ("PROJECT", "a/b"), ("RUN_ID", "a/b")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    with pytest.raises(InvalidValueError) as caught:
        Wandb()
    sources = ["(it is from WANDB_PROJECT)", "(it is from WANDB_MODE)", "(it is from WANDB_TAGS)"]
    assert [str(one)[-len(end) :] for one, end in zip(caught.value.faults, sources, strict=False)] == sources
    assert [fault.name for fault in caught.value.faults] == ["project", "mode", "tags", "run_id"]


def test_long_names_are_shortened_and_stay_different() -> None:
    first, second = ("seed=0 " * 30 + end for end in "12")
    assert shortened("seed=0") == "seed=0"
    assert (len(shortened(first)), len(shortened(second))) == (128, 128)
    assert shortened(first) != shortened(second)
    assert shortened(first) == shortened(first)


def test_tables_of_an_offline_run_wait_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR")
    monkeypatch.setenv("HOME", "/dev/null")  # cannot be written to
    spec = Wandb(save_dir=str(tmp_path / "logs"))
    logger = build(spec, tmp_path)
    logger.report_round(record(0).numbers(), RoundView({}, [cluster(0.25)], BLACK))
    spec.close(logger, 0)
    assert list((tmp_path / "logs" / "wandb" / "artifacts" / "staging").iterdir())
    assert read_run(find_runs(tmp_path / "logs")[0]).exit_code == 0


@pytest.mark.parametrize(("home", "warnings"), [("home", 0), ("/dev/null", 1)])
def test_a_folder_that_cannot_be_written_costs_a_warning_where_the_home_cannot_either(
    home: str, warnings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / home))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for folder in ("temporary", "home"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").touch()
    spec, view = Wandb(save_dir=str(tmp_path / "file" / "below")), RoundView({}, [cluster(0.25)], BLACK)
    logger = build(spec, tmp_path)
    with catch_warnings(record=True) as caught:
        simplefilter("always")
        for number in range(2):
            logger.report_round(record(number).numbers(), view)
        spec.close(logger, 0)
    assert len([one for one in caught if "W&B run" in str(one.message)]) == warnings
    run = read_run(find_runs(tmp_path / "temporary")[0])
    assert [row["round"] for row in run.history if "clustered/top1" in row] == [0, 1]
    assert len([row for row in run.history if "clusters.path" in row]) == (0 if warnings else 2)


def test_errors_that_come_through_wandbs_own_code_are_warned_about(tmp_path: Path) -> None:
    spec = Wandb(save_dir=str(tmp_path))
    logger = build(spec, tmp_path)
    logger.start_rounds(["round"])
    with pytest.warns(RuntimeWarning, match=r"failed \(ValueError"):  # not a class of W&B's
        logger.report_pictures({"codebook": np.zeros((2, 2, 7), np.uint8)})
    spec.close(logger, 0)


def test_the_page_lists_every_variable() -> None:
    page = (PROJECT / "docs" / "wandb.md").read_text()
    names = [*VARIABLES.values(), "WANDB_NAME", "WANDB_RUN_ID", "WANDB_DATA_DIR"]
    assert [name for name in names if f"`{name}`" not in page] == []
