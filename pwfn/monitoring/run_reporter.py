"""Everything a run writes about itself: one record a round, sent unchanged to files, logger and console."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from pwfn.monitoring.console import show
from pwfn.monitoring.loggers import run_logger
from pwfn.records.metric_names import ROUND_VIEW
from pwfn.records.rounds import (
    CLUSTER_COLUMNS,
    COLUMNS,
    RECORDS,
    SUMMARY_FILE,
    RoundRecord,
    Scores,
    csv_text,
    is_finishing,
    write_atomically,
    write_result,
)

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from pwfn.monitoring.round_media import RoundView

SUMMARY = ("clustered/top1", "entropy_bits", "unique_weights")  # the figures that the table of a sweep shows


def _short(count: int) -> str:
    """At most five characters, exact up to 9999: the table has to fit, and the files hold the exact number."""
    if count < 10_000:
        return str(count)
    power = 1
    while count / 1000**power >= 999.5:  # from there on it would be rounded up to a fourth digit
        power += 1
    number = count / 1000**power
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f}{'kMGTP'[power - 1]}"


def round_line(record: RoundRecord, baseline: Scores) -> str:
    """One line of plain text for the moment a round ends."""
    change = record.clustered.top1 - baseline.top1
    return (
        f"round {record.round + 1}: {100 * record.fraction:.1f} % fixed to {record.codebook_size:,} values, "
        f"{record.entropy_bits:.2f} bits, top1 {record.trained.top1:.2f} % trained, "
        f"{record.clustered.top1:.2f} % clustered ({change:+.2f} points)"
    )


def finishing_line(record: RoundRecord, baseline: Scores) -> str:
    """The same for what followed the last clustering."""
    change = record.clustered.top1 - baseline.top1
    return (
        f"finishing: top1 {record.trained.top1:.2f} % trained, {record.clustered.top1:.2f} % at the end "
        f"({change:+.2f} points)"
    )


def rounds_table(records: Sequence[RoundRecord], baseline: Scores, unit: str = "sigmas") -> Table:
    """The whole run, 80 columns wide: first the pretrained network, then a row for each round, counted from 1.

    `unit` is what one tolerance is called.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, header_style="bold")
    headings = ("round", "fixed\n%", "code\nbook", "unique", "bits", "trained\ntop1 %", "clustered\ntop1 %")
    for heading in (*headings, "change\npoints", f"limit\n{unit}", "moved", "sec"):
        table.add_column(heading, justify="left" if heading == "round" else "right", no_wrap=True)
    table.add_row("pretrained", *[""] * 4, f"{baseline.top1:.2f}")
    for index, one in enumerate(records):
        table.add_row(
            "finish" if is_finishing(records[: index + 1]) else str(one.round + 1),
            f"{100 * one.fraction:.1f}",
            _short(one.codebook_size),
            _short(one.unique_weights),
            f"{one.entropy_bits:.2f}",
            f"{one.trained.top1:.2f}",
            f"{one.clustered.top1:.2f}",
            f"{one.clustered.top1 - baseline.top1:+.2f}",
            f"{one.threshold:.3g}" if one.threshold < 1000 else _short(round(one.threshold)),
            _short(one.moved),
            f"{one.train_seconds + one.cluster_seconds:.0f}",
        )
    return table


def sentence(record: RoundRecord, baseline: Scores, weights: int | None) -> str:
    """The result in words; `weights` is the number of quantised weights, where it is known."""
    count = f"{weights:,} weights" if weights is not None else "quantised weights"
    if record.fraction < 1:
        who = f"{100 * record.fraction:.1f} % of the {count} now share {record.codebook_size:,} values"
        size = f"all of them together need {record.entropy_bits:.2f} bits each"
    else:
        who = f"{count if weights is not None else 'All ' + count} now share {record.codebook_size:,} values"
        size = f"{record.entropy_bits:.2f} bits each"
    change = record.clustered.top1 - baseline.top1
    return f"{who}, {size}; top1 {record.clustered.top1:.2f} % (pretrained {baseline.top1:.2f} %, {change:+.2f} points)"


class RunReporter:
    """Writes a run's files and rows; made and called on rank 0 only.

    After every round the folder holds the whole story so far: rounds.csv and rounds.json (a row a round, see `COLUMNS`)
    and clusters.csv (a row for each centroid of each round, see `CLUSTER_COLUMNS`). `finish` adds summary.json.
    """

    def __init__(self, folder: Path, logger: Logger | None, console: Console, unit: str = "sigmas") -> None:
        self.folder = Path(folder)
        self._unit = unit
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

        A resumed run hands over the `records` of its finished rounds and the rows of their `clusters`, `round`
        included. They replace what is in the folder: the files may be of a round that its checkpoint does not know of.
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
        """Whether the logger has any use for what rounds look like."""
        return self._logger.takes_pictures

    def add(self, record: RoundRecord, clusters: Sequence[Mapping[str, Any]], view: RoundView | None = None) -> str:
        """Write a finished round everywhere and return the line to show for it.

        `clusters` has one row per centroid with the keys of `CLUSTER_COLUMNS`; `round` is filled in here. `view` is for
        the logger alone. Nothing is printed: a live display may own the terminal.
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
        write_atomically(self.folder / "rounds.csv", csv_text(COLUMNS, rows))
        write_atomically(self.folder / RECORDS, json.dumps(rows, indent=1) + "\n")
        write_atomically(self.folder / "clusters.csv", csv_text(CLUSTER_COLUMNS, self._clusters))

    def finish(self, records: Sequence[RoundRecord], baseline: Scores, extra: Mapping[str, Any]) -> None:
        """Write summary.json and print the table, the result in words and the files.

        `extra` (seed, versions, command, total seconds ...) goes into the summary under `run`; its `weights`, the
        number of quantised weights, also goes into the sentence.
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
        write_atomically(self.folder / SUMMARY_FILE, json.dumps(summary, indent=1, default=str) + "\n")
        if final:
            figures = final.flat()
            write_result(self.folder, final.clustered.top1, {key: figures[key] for key in SUMMARY})
            self._report_final(baseline.top1 - final.clustered.top1, extra.get("artifact"))
        show(self._console, rounds_table(records, baseline, self._unit))
        show(
            self._console,
            "\n" + (sentence(final, baseline, extra.get("weights")) if final else "No round was finished."),
        )
        names = sorted(path.name for path in self.folder.iterdir() if path.is_file() and not path.name.startswith("."))
        show(self._console, f"Files in {self.folder}: {', '.join(names)}")

    def _report_final(self, top1_drop: float, receipt: Mapping[str, Any] | None) -> None:
        size = {"artifact_mb": receipt["file"] / 1e6} if receipt else {}
        self._logger.report_summary({"top1_drop": top1_drop, **size})

    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Hand the run's result over to loggers that keep such things."""
        self._logger.report_artifact(path, metadata)
