"""Convert pictures, histograms and codebook tables to what loggers show.

`package` is wandb or trackio, which calls its classes and their arguments as wandb does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pwfn.monitoring.loggers.round_media import RoundView


def image(package: Any, picture: NDArray[np.uint8] | Path) -> Any:
    """Convert pixels [height, width, 3], or a file."""
    return package.Image(str(picture) if isinstance(picture, Path) else picture)


def media(package: Any, view: RoundView) -> dict[str, Any]:
    """Convert the histograms and the codebook picture of a round, by the keys they are logged under."""
    histograms = {
        key: package.Histogram(np_histogram=(np.array(one.counts), np.array(one.edges)))
        for key, one in view.histograms.items()
    }
    return {**histograms, "codebook": image(package, view.picture)}


def table(package: Any, view: RoundView) -> Any:
    """Convert the clusters of a round to a table with a row for each."""
    columns = view.table
    return package.Table(columns=list(columns), data=[list(row) for row in zip(*columns.values(), strict=True)])


def as_pixels(picture: NDArray[np.uint8] | Path) -> NDArray[np.uint8]:
    """Return a picture, which may be a file, as an array [height, width, 3]."""
    if not isinstance(picture, Path):
        return picture
    from PIL import Image

    return np.asarray(Image.open(picture).convert("RGB"))
