"""Send one record a round, unchanged, to files, logger and console."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pwfn.monitoring.console import show
from pwfn.monitoring.loggers.spec import run_logger
from pwfn.monitoring.round_tables import finishing_line, round_line, rounds_table, sentence
from pwfn.records.columns import csv_text
from pwfn.records.files import RECORDS, SUMMARY_FILE, write_text
from pwfn.records.metric_names import ROUND_VIEW
from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS, RoundRecord, Scores, is_finishing, write_result

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from pwfn.monitoring.loggers.round_media import RoundView

# the figures that the table of a sweep shows, where a run has them
FIGURES = ("clustered/top1", "clustered/val_top1", "top1_change", "entropy_bits", "unique_weights", "artifact_mb")


class RunReporter:
    """Write a run's files and rows; on rank 0 only.

    After every round the folder holds the whole story so far: rounds.csv and rounds.json (a row a round, see `COLUMNS`)
    and clusters.csv (a row for each centroid of each round, see `CLUSTER_COLUMNS`). `finish` adds summary.json.

    Args:
        folder: of the run.
        logger: of the trainer, None where it has none.
        console: for the table and the result at the end.
        tolerance_name: what one tolerance is called, "sigmas"; None where moves have no limit.
    """

    def __init__(
        self, folder: Path, logger: Logger | None, console: Console, tolerance_name: str | None = "sigmas"
    ) -> None:
        self.folder = Path(folder)
        self._tolerance_name = tolerance_name
        self.records: list[RoundRecord] = []
        self._clusters: list[dict[str, Any]] = []
        self._logger = run_logger(logger)
        self._console = console
        self._baseline: Scores | None = None

    def start(
        self,
        baseline: Scores,
        records: Sequence[RoundRecord] = (),
        clusters: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Begin with the pretrained network's scores, once the trainer exists.

        What a resumed run hands over replaces the files in the folder: they may have a round that its checkpoint does
        not know of.

        Args:
            baseline: scores of the pretrained network.
            records: of the rounds that were finished before a resume.
            clusters: rows of their clusters, `round` included.
        """
        self._baseline = baseline
        self.records, self._clusters = list(records), [dict(row) for row in clusters]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._logger.start_rounds([*COLUMNS, *ROUND_VIEW])
        self._logger.report_summary({f"pretrained/{name}": value for name, value in asdict(baseline).items()})
        if self.records:
            self._write()
            self._logger.report_again([record.numbers() for record in self.records])
        else:
            for name in (RECORDS, "rounds.csv", "clusters.csv"):
                (self.folder / name).unlink(missing_ok=True)

    @property
    def wants_views(self) -> bool:
        """Tell whether the logger has any use for histograms and pictures."""
        return self._logger.takes_pictures

    def add(self, record: RoundRecord, clusters: Sequence[Mapping[str, Any]], view: RoundView | None = None) -> str:
        """Write a finished round everywhere. Nothing is printed: a live display may own the terminal.

        Args:
            record: of the next round.
            clusters: a row for each centroid with the keys of `CLUSTER_COLUMNS`; `round` is filled in here.
            view: for the logger alone.

        Returns:
            The line to show for it.

        Raises:
            ValueError: where a round is missing.
            NotWritten: for one on a full disk; each file is the old one or the new one.
        """
        if self._baseline is None:
            raise RuntimeError("call start(baseline) before the first add(...)")
        if record.round != len(self.records):
            raise ValueError(f"round = {record.round}: must be {len(self.records)}, the next one")
        self.records.append(record)
        self._clusters += [{**row, "round": record.round} for row in clusters]
        self._write()
        self._logger.report_round(record.numbers(), view)
        return (finishing_line if is_finishing(self.records) else round_line)(record, self._baseline)

    def _write(self) -> None:
        rows = [one.flat() for one in self.records]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "rounds.csv", csv_text(COLUMNS, rows))
        write_text(self.folder / RECORDS, json.dumps(rows, indent=1) + "\n")
        write_text(self.folder / "clusters.csv", csv_text(CLUSTER_COLUMNS, self._clusters))

    def finish(
        self,
        records: Sequence[RoundRecord],
        baseline: Scores,
        extra: Mapping[str, Any],
    ) -> None:
        """Write summary.json and print the table and the result in words.

        Args:
            records: of all rounds.
            baseline: scores of the pretrained network.
            extra: seed, versions, command, seconds ...: what the summary has under `run`. Its `weights`, the number of
                quantized weights, also goes into the sentence.
        """
        final = records[-1] if records else None
        summary = {
            "pretrained": asdict(baseline),
            "final": final.flat() if final else None,
            "top1_change": final.clustered.top1 - baseline.top1 if final else None,
            "rounds": len(records),
            "run": dict(extra),
        }
        # default=str: a path or a version object among the extras must not cost a finished run its summary
        write_text(self.folder / SUMMARY_FILE, json.dumps(summary, indent=1, default=str) + "\n")
        if final:
            receipt = extra.get("artifact")
            size = {"artifact_mb": receipt["file"] / 1e6} if receipt else {}
            figures = {**final.numbers(), "top1_change": final.clustered.top1 - baseline.top1, **size}
            write_result(self.folder, final.judged.top1, {key: figures[key] for key in FIGURES if key in figures})
            self._logger.report_summary({"top1_drop": baseline.top1 - final.clustered.top1, **size})
        show(self._console, rounds_table(records, baseline, self._tolerance_name))
        show(
            self._console,
            "\n" + (sentence(final, baseline, extra.get("weights")) if final else "No round was finished."),
        )

    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Hand the run's result over to loggers that keep files."""
        self._logger.report_artifact(path, metadata)
