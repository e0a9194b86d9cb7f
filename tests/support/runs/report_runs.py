"""Folders of runs for the tests of the report: the small files of a real run, changed where a test wants it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

FILES = (
    "config.yaml",
    "rounds.json",
    "clusters.csv",
    "layers.csv",
    "weights.json",
    "provenance.json",
    "summary.json",
    "result.json",
)
EVIL = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"> & "quotes" </script>'


def copy_run(
    source: Path,
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    last: Mapping[str, Any] | None = None,
    megabytes: float | None = None,
    without: Iterable[str] = (),
) -> Path:
    """The run `source` again, with dotted keys of its `config` and figures of its `last` round changed."""
    folder.mkdir(parents=True)
    for name in set(FILES) - set(without):
        shutil.copy(source / name, folder / name)
    saved = yaml.safe_load((source / "config.yaml").read_text())
    for key, value in (config or {}).items():
        *above, leaf = key.split(".")
        section = saved
        for part in above:
            section = section[part]
        section[leaf] = value
    if "config.yaml" not in without:
        (folder / "config.yaml").write_text(yaml.safe_dump(saved, allow_unicode=True))
    if last:
        rounds = json.loads((source / "rounds.json").read_text())
        rounds[-1] |= last
        (folder / "rounds.json").write_text(json.dumps(rounds))
    if megabytes is not None:
        summary = json.loads((source / "summary.json").read_text())
        summary["run"]["artifact"]["file"] = round(megabytes * 1e6)
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def make_sweep(source: Path, sweep: Path) -> Path:
    """Six jobs: four finished, one of them with a name that is markup, one failed, one interrupted."""
    figures = {
        0: (5, 0, 90.0, 3.5, 0.2),
        1: (5, 1, 91.0, 3.0, 0.1),
        2: (6, 0, 98.5, 4.5, 0.3),
        10: (6, 1, 97.0, 5.0, 0.4),
    }
    for number, (b, seed, top1, bits, megabytes) in figures.items():
        config = {"codebook.b": b, "seed": seed, "name": EVIL if number == 1 else None}
        last = {"clustered/top1": top1, "clustered/val_top1": top1 - 1, "entropy_bits": bits}
        copy_run(source, sweep / f"{number}_b={b}", config=config, last=last, megabytes=megabytes)
    unfinished = {"summary.json", "result.json", "layers.csv", "weights.json"}
    begun = {*unfinished, "rounds.json", "clusters.csv"}
    copy_run(source, sweep / "3_failed", config={"codebook.b": 7}, without=begun)
    copy_run(source, sweep / "4_ended", config={"codebook.b": 7, "seed": 1}, without=unfinished)
    jobs = [
        {"job": 3, "status": "failed", "reason": f"no {EVIL}", "exit_code": 1, "folder": "3_failed", "overrides": []},
        {"job": 5, "status": "failed", "reason": None, "exit_code": -9, "folder": "5_killed", "overrides": ["seed=4"]},
    ]
    (sweep / "5_killed").mkdir()
    (sweep / "jobs.json").write_text(json.dumps(jobs))
    return sweep


class Page(HTMLParser):
    """What a browser would make of the markup: every element, the texts outside scripts, and the data."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = [("", {})]
        self.texts: list[str] = []
        self.data = ""
        self.rows: list[list[str]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.shared, self.details = (json.loads(self.data)[key] for key in ("shared", "details"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":  # within a word
            return
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1]
        if tag == "script":
            self.data += data if attributes.get("id") == "data" else ""
        else:
            self.texts.append(data)
        if self.rows and self.rows[-1] and tag in ("td", "th", "button"):
            self.rows[-1][-1] += data.strip()
