"""A folder without a finished run is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pwfn.checkpoint.saved_run import NotAFinishedRun
from pwfn.run.start import Finished
from tests.support.evaluation import measured


def _no_config(folder: Path) -> None:
    (folder / "config.yaml").unlink()


def _unfinished(folder: Path) -> None:
    rows = json.loads((folder / "rounds.json").read_text())
    (folder / "rounds.json").write_text(json.dumps(rows[:-1]))


def _truncated(folder: Path) -> None:
    content = (folder / "network.safetensors").read_bytes()
    (folder / "network.safetensors").write_bytes(content[: len(content) // 2])


def _truncated_before(folder: Path) -> None:
    content = (folder / "pretrained.safetensors").read_bytes()
    (folder / "pretrained.safetensors").write_bytes(content[: len(content) // 2])


def _other_network(folder: Path) -> None:
    shutil.copy(folder / "trained.safetensors", folder / "pretrained.safetensors")


def _hostile(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("pwfn.bayesian.Pow2DistancePrior", "os.system"))


def _garbage(folder: Path) -> None:
    (folder / "config.yaml").write_text("a: [1")


def _summary(folder: Path) -> None:
    (folder / "summary.json").write_text('{"pretrained": 3}')


@pytest.mark.parametrize(
    "damage",
    [_no_config, _unfinished, _truncated, _truncated_before, _other_network, _hostile, _garbage, _summary],
)
def test_what_is_no_finished_run_is_refused(finished: Finished, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    damage(folder)
    with pytest.raises(NotAFinishedRun, match="run") as error:
        measured(run=str(folder))
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAFinishedRun, match="nowhere"):
        measured(run=str(tmp_path / "nowhere"))
