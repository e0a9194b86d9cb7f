"""Write rounds as lines and tables for the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from pwfn.records.rounds import RoundRecord, Scores, is_finishing


def _short(count: int) -> str:
    """Write a count in at most five characters, exact up to 9999; the files hold the exact number."""
    if count < 10_000:
        return str(count)
    power = 1
    while count / 1000**power >= 999.5:  # from there on it would be rounded up to a fourth digit
        power += 1
    number = count / 1000**power
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f}{'kMGTP'[power - 1]}"


def round_line(record: RoundRecord, baseline: Scores) -> str:
    """Describe a round that has ended in one line; where nothing was trained, with one accuracy."""
    change = record.clustered.top1 - baseline.top1
    trained = f"{record.trained.top1:.2f} % trained, " if record.epochs else ""
    clustered = f"{record.clustered.top1:.2f} %{' clustered' if trained else ''}"
    return (
        f"round {record.round + 1}: {100 * record.fraction:.1f} % fixed to {record.codebook_size:,} values, "
        f"entropy {record.entropy_bits:.2f} bits, top1 {trained}{clustered} ({change:+.2f} points)"
    )


def finishing_line(record: RoundRecord, baseline: Scores) -> str:
    """Describe the finishing, which follows the last clustering, in one line."""
    change = record.clustered.top1 - baseline.top1
    return (
        f"finishing: top1 {record.trained.top1:.2f} % trained, {record.clustered.top1:.2f} % at the end "
        f"({change:+.2f} points)"
    )


def rounds_table(records: Sequence[RoundRecord], baseline: Scores, tolerance_name: str | None = "sigmas") -> Table:
    """Make the table of a whole run, 80 columns wide, without the columns that mean nothing in it.

    Args:
        records: of all rounds, which get a row each, counted from 1.
        baseline: scores of the pretrained network, which get the first row.
        tolerance_name: what one tolerance is called, "sigmas"; None: moves had no limit.

    Returns:
        The table, for a console of any width from 80.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, header_style="bold")
    trains = any(one.epochs for one in records)
    columns = ["round", "fixed\n%", "code\nbook", "unique", "entropy\nbits", "trained\ntop1 %", "clustered\ntop1 %"]
    columns += ["change\npoints", f"limit\n{tolerance_name}", "moved", "sec"]
    left_out = {*(() if trains else columns[5:6]), *(() if tolerance_name is not None else columns[8:9])}
    for heading in columns:
        if heading not in left_out:
            table.add_column(heading, justify="left" if heading == "round" else "right", no_wrap=True)
    table.add_row("pretrained", *[""] * 4, f"{baseline.top1:.2f}")
    for index, one in enumerate(records):
        name = "finish" if is_finishing(records[: index + 1]) else str(one.round + 1)
        cells = zip(columns, [name, *_cells(one, baseline)], strict=True)
        table.add_row(*(cell for heading, cell in cells if heading not in left_out))
    return table


def _cells(one: RoundRecord, baseline: Scores) -> list[str]:
    return [
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
    ]


def sentence(record: RoundRecord, baseline: Scores, weights: int | None) -> str:
    """Return a run's result in a sentence.

    Args:
        record: of the last round.
        baseline: scores of the pretrained network.
        weights: how many are quantized; None where that is not known.
    """
    count = f"{weights:,} weights" if weights is not None else "quantized weights"
    if record.fraction < 1:
        who = f"{100 * record.fraction:.1f} % of the {count} now share {record.codebook_size:,} values"
        size = f"entropy of all of them together {record.entropy_bits:.2f} bits each"
    else:
        who = f"{count if weights is not None else 'All ' + count} now share {record.codebook_size:,} values"
        size = f"entropy {record.entropy_bits:.2f} bits each"
    change = record.clustered.top1 - baseline.top1
    return f"{who}, {size}; top1 {record.clustered.top1:.2f} % (pretrained {baseline.top1:.2f} %, {change:+.2f} points)"
