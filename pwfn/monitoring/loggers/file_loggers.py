"""Log into files of the run's folder, with the keys that W&B gets, on one axis of optimizer steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from typing_extensions import override

from pwfn.config.secrets import without_secrets
from pwfn.monitoring.loggers.media import as_pixels
from pwfn.monitoring.loggers.round_media import Histogram, RoundView
from pwfn.monitoring.loggers.under_steps import UnderSteps


class CsvRunLogger(UnderSteps, CSVLogger):
    """Write scalars alone, as CSV."""


class TensorBoardRunLogger(UnderSteps, TensorBoardLogger):
    """Write TensorBoard's event files; a resumed run goes on in the same folder, with a file of its own."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, name="", version="tensorboard", default_hp_metric=False)
        self._config = without_secrets(config)

    @property
    @override
    def takes_pictures(self) -> bool:
        return True

    @override
    def start_rounds(self, keys: Iterable[str]) -> None:
        self.log_hyperparams(self._config)

    @override
    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        super().report_round(flat)
        if view is None:
            return
        for key, histogram in view.histograms.items():
            self.experiment.add_histogram_raw(key, **_raw(histogram), global_step=self._last_step)
        self.report_pictures({"codebook": view.picture})

    @override
    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        for key, picture in pictures.items():
            self.experiment.add_image(key, as_pixels(picture), global_step=self._last_step, dataformats="HWC")
        self.save()


def _raw(histogram: Histogram) -> dict[str, Any]:
    """Convert for TensorBoard; the sums are those of the bins' middles."""
    edges, counts = np.array(histogram.edges), np.array(histogram.counts)
    middles = (edges[:-1] + edges[1:]) / 2
    return {
        "min": edges[0],
        "max": edges[-1],
        "num": counts.sum(),
        "sum": (counts * middles).sum(),
        "sum_squares": (counts * middles**2).sum(),
        "bucket_limits": edges[1:].tolist(),
        "bucket_counts": counts.tolist(),
    }
