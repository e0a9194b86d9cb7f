"""Several loggers at once are told the same."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pwfn.config import build
from pwfn.errors import InvalidValueError
from pwfn.monitoring import Csv, Several, TensorBoard, Wandb
from pwfn.monitoring.loggers.several_loggers import spelled_out
from pwfn.monitoring.loggers.spec import LoggerSpec
from tests.support.loggers.told_loggers import told
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.project import Compose

pytestmark = pytest.mark.usefixtures("wandb_folders")


def test_a_list_of_loggers_is_spelled_out_for_hydra() -> None:
    assert spelled_out(["-m", "seed=0,1", "logger=wandb"]) == ["-m", "seed=0,1", "logger=wandb"]
    assert spelled_out(["logger=[wandb,csv]", "seed=1"]) == ["logger=several", "seed=1"]
    assert spelled_out(["logger=[wandb, tensorboard]"]) == [
        "logger=several",
        "logger.csv=null",
        "+logger@logger.tensorboard=tensorboard",
    ]


def test_what_is_spelled_out_composes(composed: Compose) -> None:
    def built(*overrides: str) -> Any:
        node: Any = OmegaConf.to_container(composed(*overrides).logger)
        return build.build(LoggerSpec, node)  # type: ignore[type-abstract]

    assert built(*spelled_out(["logger=[csv,tensorboard]"])) == Several(csv=Csv(), tensorboard=TensorBoard())
    assert built("logger=several", "logger.wandb.mode=online") == Several(csv=Csv(), wandb=Wandb(mode="online"))


def test_none_at_all_is_refused() -> None:
    with pytest.raises(InvalidValueError):
        Several()


def test_each_of_several_gets_every_round(tmp_path: Path) -> None:
    told(Several(wandb=Wandb(save_dir=str(tmp_path), group="mine"), csv=Csv()), tmp_path)
    run = read_run(find_runs(tmp_path)[0])
    assert [row["round"] for row in run.history if "clustered/top1" in row] == [0, 1]
    assert (run.exit_code, run.group) == (0, "mine")
    with (tmp_path / "training" / "version_0" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows if row["clustered/top1"]] == ["0", "1"]
    assert rows[-1]["top1_drop"] == "1.25"


def test_several_name_a_run_as_one_of_them_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_NAME", "named")
    monkeypatch.setenv("WANDB_RUN_ID", "0123")
    spec = Several(csv=Csv(), wandb=Wandb(project="p"))
    assert (spec.name_of(None, "seed=1"), spec.new_run_id(None), spec.group_of("sweep")) == ("named", "0123", "sweep")
    evaluating = spec.for_evaluation().wandb
    assert isinstance(evaluating, Wandb)
    assert evaluating.job_type == "evaluate"
