"""docs/wandb.md, pwfn/records/metric_names.py and what a run sends to its logger say the same."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from pwfn.records.metric_names import ROUND_VIEW, STEP, SUMMARY, VALIDATION, X_AXES
from pwfn.records.rounds import COLUMNS
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.project import PROJECT

TABLES = [COLUMNS, ROUND_VIEW, STEP, VALIDATION, SUMMARY, X_AXES]
NOT_HERE = {"train/gpu_memory_gb", "train/distillation"}
OF_WANDB = {"_step", "_runtime", "_timestamp"}


def test_the_page_has_every_key_with_its_meaning_and_unit() -> None:
    page = (PROJECT / "docs" / "wandb.md").read_text()
    tables = re.findall(r"\| key \| meaning \| unit \|\n\|[-|]+\n((?:\|.*\n)+)", page)
    right = ["".join(f"| `{c.key}` | {c.meaning} | {c.unit} |\n" for c in table.values()) for table in TABLES]
    assert tables == right  # the tables of the page, in their order: the right side is what it should have


@pytest.mark.slow
def test_a_run_sends_every_key_of_the_list_and_no_other(smoke: Path) -> None:
    (path,) = find_runs(smoke / "logs")
    run = read_run(path)
    sent = {key.partition(".")[0] for row in run.history for key in row} - OF_WANDB
    assert sent == {*COLUMNS, *ROUND_VIEW, *STEP, *VALIDATION, *X_AXES} - NOT_HERE
    summary = {key.partition(".")[0] for key in run.summary} - OF_WANDB - {"_wandb"}
    assert summary - sent == set(SUMMARY)
    assert {key for key in run.summary if key.startswith("histogram/")} == {
        f"histogram/{name}._type" for name in ("mu", "sigma", "displacement")
    }
    assert any("histogram/mu.values" in row for row in run.history)
    assert run.summary["artifact_mb"] == (smoke / "run" / "model.pwfn").stat().st_size / 1e6
    assert run.config["provenance"]["versions"]["timm"]
    assert run.config["seed"] == 0
    (artifact,) = [one for one in run.artifacts if one.type == "model"]
    assert artifact.manifest.contents[0].local_path == str(smoke / "run" / "model.pwfn")


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_files_get_the_same_keys(small_run, tmp_path: Path, logger: str) -> None:  # type: ignore[no-untyped-def]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    small_run(tmp_path, f"logger={logger}", "trainer.log_every_n_steps=1", "data.val_fraction=0.25")
    expected = {*COLUMNS, *STEP, *VALIDATION, *SUMMARY, "epoch"} - NOT_HERE
    if logger == "csv":
        with (tmp_path / "training" / "version_0" / "metrics.csv").open() as file:
            assert set(csv.DictReader(file).fieldnames or ()) == expected | {"step"}
        return
    tags = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Tags()
    assert set(tags["scalars"]) == expected
    assert set(tags["histograms"]) | set(tags["images"]) == set(ROUND_VIEW) - {"clusters"}
