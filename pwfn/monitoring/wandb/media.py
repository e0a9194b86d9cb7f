"""Convert pictures, histograms and codebook tables to what W&B shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from pwfn.monitoring.loggers.round_media import RoundView
from pwfn.records.rounds import CLUSTER_COLUMNS


def image(picture: NDArray[np.uint8] | Path) -> Any:
    """Convert pixels [height, width, 3], or a file."""
    return wandb.Image(str(picture) if isinstance(picture, Path) else picture)


def media(view: RoundView) -> dict[str, Any]:
    """Convert the histograms and the codebook picture of a round, by the keys they are logged under."""
    histograms = {
        key: wandb.Histogram(np_histogram=(np.array(one.counts), np.array(one.edges)))
        for key, one in view.histograms.items()
    }
    return {**histograms, "codebook": image(view.picture)}


def table(view: RoundView) -> wandb.Table:
    """Convert the clusters of a round to a table with a row for each."""
    columns = [column for key, column in CLUSTER_COLUMNS.items() if key != "round"]
    rows = [[column.convert(row[column.key]) for column in columns] for row in view.clusters]
    return wandb.Table(columns=[column.key for column in columns], data=rows)
