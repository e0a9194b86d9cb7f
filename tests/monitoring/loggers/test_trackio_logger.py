"""Trackio is told what W&B is told, keeps it whatever the run is called, and shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from pwfn.errors import InvalidValueError
from pwfn.monitoring import Trackio
from tests.support.browser import needs_chromium
from tests.support.loggers.dashboards import free_port, look_at
from tests.support.project import CONF, PROJECT, clean_environment
from tests.support.runs.round_records import cluster, record

pytestmark = [
    pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is an extra"),
    pytest.mark.slow,  # a process each: trackio reads its folder when it is imported
]

TOLD = """
import json, sys
from pathlib import Path
import pwfn.monitoring
from tests.support.loggers.told_loggers import told
folder = Path(sys.argv[1])
told(pwfn.monitoring.Trackio(save_dir=str(folder)), folder, name=sys.argv[2])
from trackio import SQLiteStorage
runs = {name: (SQLiteStorage.get_run_config("pwfn", name), SQLiteStorage.get_logs("pwfn", name))
        for name in SQLiteStorage.get_runs("pwfn")}
print(json.dumps(runs))
"""
SHOW = """
import sys, trackio
trackio.show("pwfn", open_browser=False, block_thread=True, host="127.0.0.1", server_port=int(sys.argv[1]), share=False)
"""


def variables(folder: Path) -> dict[str, str]:
    return clean_environment(TRACKIO_DIR=str(folder), HF_HUB_OFFLINE="1", PYTHONPATH=str(PROJECT))


def told(folder: Path, name: str = "first") -> dict[str, Any]:
    """Tell it everything about a run: config and rows of all runs in the database, by name."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD, str(folder), name],
        cwd=folder.parent,
        env=variables(folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "skipped" not in done.stderr
    found: dict[str, Any] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return found


def test_the_options_of_conf_are_those_of_the_class() -> None:
    values = yaml.safe_load((CONF / "logger" / "trackio.yaml").read_text())
    assert values.pop("_target_") == "pwfn.monitoring.Trackio"
    assert Trackio(**values) == Trackio()
    assert set(values) == set(Trackio.__dataclass_fields__)


def test_bad_values_are_refused_all_at_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Trackio(project="a/b", save_dir="")
    assert [fault.name for fault in caught.value.faults] == ["project", "save_dir"]


def test_what_wandb_gets_arrives_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "trackio"
    (name,) = told(folder)
    assert name == "first 0123abcd"
    (again,) = (runs := told(folder))
    assert again == name
    config, rows = runs[name]
    assert (config["seed"], config["_Group"]) == (3, "g")
    assert [row["train/loss"] for row in rows if row.get("trainer/global_step") == 7] == [0.5, 0.5]
    assert [row["top1_drop"] for row in rows if "top1_drop" in row] == [1.25, 1.25]
    rounds = [row for row in rows if "clustered/top1" in row]
    assert [row["round"] for row in rounds] == [0, 1, 0, 1]
    for row in rounds:
        numbers = record(row["round"]).numbers()
        assert {key: row[key] for key in numbers} == pytest.approx(numbers)
        assert (row["histogram/mu"]["bins"], row["histogram/mu"]["values"]) == ([0, 1, 2], [1, 2])
        assert row["clusters"]["_value"] == [cluster(0.25)]
        assert (folder / "media" / row["codebook"]["file_path"]).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["../../up", "data.folder=/data/x", "lr=1 " * 80, "é" * 200])
def test_no_name_of_a_run_costs_a_picture_or_leaves_the_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "below" / "trackio"
    folder.parent.mkdir()
    ((_, rows),) = told(folder, name).values()
    pictures = {folder / "media" / row["codebook"]["file_path"] for row in rows if "codebook" in row}
    assert len(pictures) == 2
    assert set(tmp_path.rglob("*.png")) == pictures
    assert {len(path.relative_to(folder / "media" / "pwfn").parts) for path in pictures} == {3}  # name, step, file


@pytest.mark.browser
@needs_chromium
def test_its_dashboard_shows_the_rounds(tmp_path: Path) -> None:
    folder, port = tmp_path / "trackio", free_port()
    told(folder)
    wanted = ("first 0123abcd", "top1_drop", "codebook_size")
    command = [sys.executable, "-c", SHOW, str(port)]
    look_at(command, port, "?project=pwfn", wanted, tmp_path, **variables(folder))
