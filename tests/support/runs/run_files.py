"""Read the files of a run's folder as a stranger would."""

from __future__ import annotations

import csv
from pathlib import Path

WHOLE = ("round", "order", "count")


def read_clusters(folder: Path) -> list[dict[str, int | float | None]]:
    """Rows of clusters.csv: every value a number, or None where the cell is empty."""
    with (folder / "clusters.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {key: None if cell == "" else int(cell) if key in WHOLE else float(cell) for key, cell in row.items()}
        for row in rows
    ]


FILES = [
    "clusters.csv",
    "config.yaml",
    "layers.csv",
    "model.pwfn",
    "network.safetensors",
    "pretrained.safetensors",
    "provenance.json",
    "report.html",
    "result.json",
    "rounds.csv",
    "rounds.json",
    "rounds.png",
    "summary.json",
    "trained.safetensors",
    "weights.json",
    "weights.png",
]
