"""The workspace and the report name what runs really log, and reach the server as they are written down."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pwfn.records.metric_names import ROUND_VIEW, STEP, SUMMARY, X_AXES
from pwfn.records.rounds import COLUMNS
from scripts.wandb_workspace import SECTIONS, Lines, Parallel, Pictures, Scatter, Table, described
from tests.support.loggers.wandb_api import WandbServer
from tests.support.loggers.wandb_records import ENTITY
from tests.support.loggers.wandb_server import wandb_server
from tests.support.project import PROJECT, Compose, clean_environment

PROGRAM = PROJECT / "scripts" / "wandb_workspace.py"
TABLES, PICTURES = {"clusters"}, {"codebook"}
EXPECTED = [section["panels"] for section in described()["sections"]]
PANELS = [panel for section in SECTIONS for panel in section.panels]

needs_the_package = pytest.mark.skipif(find_spec("wandb_workspaces") is None, reason="wandb-workspaces is an extra")


def started(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        cwd=folder,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_panel_names_keys_that_runs_log() -> None:
    of_runs = {*COLUMNS, *SUMMARY}
    assert set(ROUND_VIEW) >= TABLES | PICTURES
    for panel in PANELS:
        match panel:
            case Scatter():
                assert {panel.x, panel.y} <= of_runs
            case Lines():
                assert panel.x in X_AXES
                assert set(panel.y) <= set(COLUMNS if panel.x == "round" else STEP)
            case Parallel():
                assert set(panel.summary) <= of_runs
            case Table():
                assert panel.key in TABLES
            case Pictures():
                assert panel.key in PICTURES
    assert set(described()["columns"]) <= of_runs


def test_every_setting_is_a_key_of_the_default_run(composed: Compose) -> None:
    config = composed()
    settings = [*described()["settings"], *(key for one in PANELS if isinstance(one, Parallel) for key in one.config)]
    assert [key for key in settings if OmegaConf.select(config, key) is None] == []


def test_the_docs_name_the_script_and_every_section() -> None:
    page = (PROJECT / "docs" / "wandb.md").read_text(encoding="utf-8")
    assert [section.title for section in SECTIONS if section.title not in page] == []


@pytest.mark.slow
def test_a_file_that_cannot_be_written_ends_in_one_line(tmp_path: Path) -> None:
    done = started("--json", "nowhere/view.json", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pwfn: [Errno 2] No such file or directory: 'nowhere/view.json'\n"


@pytest.mark.slow
def test_what_is_built_is_written_down_without_an_account(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"  # nobody listens there
    done = started("--json", "view.json", folder=tmp_path, WANDB_BASE_URL=nowhere, HOME=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((tmp_path / "view.json").read_text()) == described()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WandbServer, list[str]]]:
    """What the server was sent, and the addresses that were printed."""
    folder = tmp_path_factory.mktemp("view")
    with wandb_server() as server:
        done = started("--project", "pwfn", folder=folder, **server.environment(folder / "home"))
        assert done.returncode == 0, done.stderr
        yield server, done.stdout.split()


def sent(server: WandbServer, kind: str) -> dict[str, Any]:
    (found,) = [view for view in server.views.values() if view["type"] == kind]
    assert (found["entityName"], found["projectName"]) == (ENTITY, "pwfn")
    assert found["displayName"] == described()["name"]
    spec: dict[str, Any] = json.loads(found["spec"])
    return spec


def summarized(panel: dict[str, Any]) -> dict[str, Any]:
    """Read a panel as it was sent back into the words of `described`."""
    config = panel["config"]
    match panel["viewType"]:
        case "Scatter Plot":
            axes = (config["xAxis"].removeprefix("summary:"), config["yAxis"].removeprefix("summary:"))
            return {"kind": "Scatter", "title": config["chartTitle"], "x": axes[0], "y": axes[1]}
        case "Run History Line Plot":
            lines = {"title": config["chartTitle"], "x": config["xAxis"], "y": config["metrics"]}
            return {"kind": "Lines", **lines}
        case "Parallel Coordinates Plot":
            axes = [column["accessor"].split(":") for column in config["columns"]]
            keys = [name.replace(".value", "", 1) for kind, name in axes if kind == "config"]
            last = [name for kind, name in axes if kind == "summary"]
            return {"kind": "Parallel", "title": config["chartTitle"], "config": keys, "summary": last}
        case "Media Browser":
            (key,) = config["mediaKeys"]
            return {"kind": "Pictures", "title": config["chartTitle"], "key": key}
    (table,) = [key for key in TABLES if f'"val": "{key}"' in json.dumps(config)]
    (title,) = [panel.title for panel in PANELS if isinstance(panel, Table) and panel.key == table]
    return {"kind": "Table", "title": title, "key": table}  # W&B shows no title there


@pytest.mark.slow
@needs_the_package
def test_the_workspace_arrives_as_it_is_described(saved: tuple[WandbServer, list[str]]) -> None:
    section = sent(saved[0], "project-view")["section"]
    found = section["panelBankConfig"]["sections"]
    assert [one["name"] for one in found] == [one.title for one in SECTIONS]
    assert [[summarized(panel) for panel in one["panels"]] for one in found] == EXPECTED
    assert section["settings"]["shouldAutoGeneratePanels"] is True
    columns = section["runSets"][0]["runFeed"]["columnOrder"]
    assert columns[:2] == ["run:displayName", "summary:clustered/top1"]
    assert "config:codebook.value.b" in columns


@pytest.mark.slow
@needs_the_package
def test_the_report_has_the_same_panels(saved: tuple[WandbServer, list[str]]) -> None:
    blocks = sent(saved[0], "runs")["blocks"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    found = [[summarized(panel) for panel in grid["panelBankSectionConfig"]["panels"]] for grid in grids]
    assert found == EXPECTED
    assert {grid["runSets"][0]["project"]["name"] for grid in grids} == {"pwfn"}


@pytest.mark.slow
@needs_the_package
def test_the_calls_are_those_that_are_known_and_the_addresses_are_printed(
    saved: tuple[WandbServer, list[str]],
) -> None:
    server, addresses = saved
    names = [name for name, _ in server.operations if name not in ("Viewer", "GetDefaultEntity")]
    grids = len(SECTIONS)
    assert names == ["ProjectInternalId"] * grids + ["GetProjects", "upsertView", "UpsertView2"]
    assert [address.split("?")[0].rpartition("/")[0] for address in addresses] == [
        f"{server.url}/{ENTITY}/pwfn/reports",
        f"{server.url}/{ENTITY}",
    ]


@pytest.mark.slow
@needs_the_package
def test_a_project_that_is_not_there_ends_in_one_line(tmp_path: Path) -> None:
    with wandb_server() as server:
        done = started("--project", "other", folder=tmp_path, **server.environment(tmp_path / "home"))
        assert server.views == {}
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("pwfn: ")]
    assert f"{ENTITY}/other" in line
