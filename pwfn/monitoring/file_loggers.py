"""Lightning's loggers that write files into the run's folder, with the same keys as W&B, all under optimizer steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger

from pwfn.config.secrets import without_secrets
from pwfn.monitoring.round_media import Histogram, RoundView


class UnderSteps(Logger):
    """A mix-in: what is reported without a step is filed under the last one that was given."""

    _last_step = 0

    @property
    def takes_pictures(self) -> bool:
        return False

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self._last_step = self._last_step if step is None else step
        super().log_metrics(dict(metrics), self._last_step)  # type: ignore[safe-super]

    def start_rounds(self, keys: Iterable[str]) -> None:
        pass

    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        self.log_metrics(flat, step=int(flat["steps"]))
        self.save()

    def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """Nothing: what was written before the resume is still there."""

    def mark_preempting(self) -> None:
        pass

    def report_summary(self, values: Mapping[str, float | int]) -> None:
        self.log_metrics(values)
        self.save()

    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        pass

    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Nothing: it lies beside the logger's files."""


class CsvRunLogger(UnderSteps, CSVLogger):
    """Scalars alone."""


class TensorBoardRunLogger(UnderSteps, TensorBoardLogger):
    """A resumed run goes on in the same folder, with a file of its own."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, name="", version="tensorboard", default_hp_metric=False)
        self._config = without_secrets(config)

    @property
    def takes_pictures(self) -> bool:
        return True

    def start_rounds(self, keys: Iterable[str]) -> None:
        self.log_hyperparams(self._config)

    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        super().report_round(flat)
        if view is None:
            return
        for key, histogram in view.histograms.items():
            self.experiment.add_histogram_raw(key, **_raw(histogram), global_step=self._last_step)
        self.report_pictures({"codebook": view.picture})

    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        from PIL import Image

        for key, picture in pictures.items():
            seen = np.asarray(Image.open(picture).convert("RGB")) if isinstance(picture, Path) else picture
            self.experiment.add_image(key, seen, global_step=self._last_step, dataformats="HWC")
        self.save()


def _raw(histogram: Histogram) -> dict[str, Any]:
    """As TensorBoard wants it; the sums are those of the bins' middles."""
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
