"""W&B that fails, at the start or on the way: warned of once, and no round is lost."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import wandb
from rich.console import Console

from pwfn.monitoring.run_reporter import RunReporter
from pwfn.monitoring.wandb.spec import Wandb
from pwfn.records.rounds import COLUMNS
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.loggers.wandb_runs import build, whole_run
from tests.support.runs.round_records import BASELINE, record

pytestmark = pytest.mark.usefixtures("wandb_folders")


@pytest.mark.parametrize("error", [wandb.errors.CommError("server gone"), ConnectionResetError(104, "gone")])
def test_a_failing_wandb_is_warned_about_once_and_loses_no_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    spec = Wandb(save_dir=str(tmp_path))
    logger = build(spec, tmp_path)
    reporter = RunReporter(tmp_path / "first", logger, Console(file=io.StringIO()))
    reporter.start(BASELINE)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(logger.experiment, "log", fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logger.log_metrics({"train/loss": 0.5}, step=1)
        reporter.add(record(0), [])
        reporter.add(record(1), [])
    assert [str(one.message) for one in caught if "W&B run 'first' failed" in str(one.message)] == [
        str(caught[0].message)
    ]
    assert len((tmp_path / "first" / "rounds.csv").read_text().splitlines()) == 3
    spec.close(logger, 0)


def test_errors_that_are_not_of_wandb_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = build(Wandb(save_dir=str(tmp_path)), tmp_path)
    logger.start_rounds(COLUMNS)
    monkeypatch.setattr(logger.experiment, "log", lambda *_: {}["no such key"])
    with pytest.raises(KeyError):
        logger.report_round(record(0).numbers())


def fails(mode: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have W&B refuse to start in `mode`; the list fills with the modes it was started in."""
    init, modes = wandb.init, []

    def start(**options: Any) -> Any:
        modes.append(options["mode"])
        if options["mode"] == mode:
            raise error
        return init(**options)

    monkeypatch.setattr(wandb, "init", start)
    return modes


def test_a_wandb_that_cannot_start_costs_a_warning_and_no_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = fails("offline", PermissionError(13, "read only"), monkeypatch)
    with pytest.warns(RuntimeWarning, match=r"'first' cannot start offline \(PermissionError.* own folder") as caught:
        whole_run(Wandb(save_dir=str(tmp_path)), tmp_path, "first")
    assert len([one for one in caught if "W&B" in str(one.message)]) == 1
    assert modes == ["offline"]
    assert len((tmp_path / "first" / "rounds.csv").read_text().splitlines()) == 3
    assert find_runs(tmp_path) == []


def test_a_run_that_cannot_reach_the_server_goes_on_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = fails("online", wandb.errors.CommError("no server"), monkeypatch)
    with pytest.warns(RuntimeWarning, match=r"cannot start online \(CommError.*`wandb sync`"):
        whole_run(Wandb(save_dir=str(tmp_path), mode="online"), tmp_path, "first")
    assert modes == ["online", "offline"]
    run = read_run(find_runs(tmp_path)[0])
    assert [row["round"] for row in run.history if "round" in row] == [0, 1]
    assert run.exit_code == 0


@pytest.mark.slow
def test_a_server_that_is_not_there_leaves_a_whole_offline_run_under_the_same_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real thing: what W&B itself keeps of the attempt must not get in the way of the second start."""
    for name, value in (("BASE_URL", "http://127.0.0.1:9"), ("API_KEY", 40 * "0"), ("INIT_TIMEOUT", "2")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    wandb.teardown()  # the environment is read once
    spec = Wandb(save_dir=str(tmp_path), mode="online")
    logger = spec.build(config={"seed": 3}, name="first", folder=tmp_path, group=None, run_id="0123abcd")
    with pytest.warns(RuntimeWarning, match="cannot start online"):
        logger.start_rounds(COLUMNS)
    logger.report_round(record(0).numbers())
    spec.close(logger, 0)
    wandb.teardown()
    (path,) = find_runs(tmp_path)
    run = read_run(path)
    assert path.name == "run-0123abcd.wandb"
    assert run.config["seed"] == 3
    assert [row["round"] for row in run.history] == [0]
    assert run.exit_code == 0


def test_a_run_that_cannot_go_on_offline_either_says_that_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise wandb.errors.CommError(options["mode"])

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.warns(RuntimeWarning) as caught:
        whole_run(Wandb(save_dir=str(tmp_path), mode="online"), tmp_path, "first")
    said = [str(one.message) for one in caught if "W&B run" in str(one.message)]
    assert ["cannot start online" in said[0], "cannot start offline" in said[1], len(said)] == [True, True, 2]
    assert len((tmp_path / "first" / "rounds.csv").read_text().splitlines()) == 3


def test_a_fault_of_our_own_at_the_start_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails("offline", KeyError("ours"), monkeypatch)
    with pytest.raises(KeyError):
        _ = build(Wandb(save_dir=str(tmp_path)), tmp_path).experiment
