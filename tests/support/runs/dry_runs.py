"""Make dry runs of a small network, and read their files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from rich.console import Console

from pwfn.config import build
from pwfn.preview.dry_run import DryRunRecord
from pwfn.preview.dry_run_report import dry_run
from pwfn.run.settings import TrainSettings
from tests.support.project import Compose

SMALL = ("dry_run=true", "model=test_resnet", "data=image_folder", "schedule=three_rounds")
FILES = ["config.yaml", "coverage.csv", "dry_run.csv", "dry_run.json", "layers.csv", "result.json"]


def settings(composed: Compose, *overrides: str) -> TrainSettings:
    return build.load(TrainSettings, composed(*SMALL, *overrides))


def run(made: TrainSettings, folder: Path) -> tuple[list[DryRunRecord], str]:
    out = io.StringIO()
    return dry_run(made, {"some": "config"}, folder, Console(file=out, width=100)), out.getvalue()


def read(path: Path, columns: dict) -> list[dict]:
    with path.open() as file:
        return [{key: column.read(row) for key, column in columns.items()} for row in csv.DictReader(file)]
