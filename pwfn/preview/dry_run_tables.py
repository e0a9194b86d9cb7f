"""Put the figures of a dry run into tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from pwfn.preview.displacement import TensorMove
from pwfn.preview.dry_run import DryRunRecord


def round_line(record: DryRunRecord, sizes: bool = True) -> str:
    """Describe a round in one line when it ends; `sizes`: also what it costs on disk."""
    fixed = f"round {record.round + 1}: {100 * record.fraction:.1f} % fixed"
    cost = f" to {record.codebook_size:,} values, {record.size.entropy_mb:.2f} of {record.size.fp32_mb:.2f} MB"
    return f"{fixed}{cost if sizes else ''}, {record.cluster_seconds:.1f} s"


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=bool(number), overflow="fold")
    return table


def size_table(records: Sequence[DryRunRecord], per_tensor: bool) -> Table:
    """Return a table of what each round costs on disk, and of the orders of its centroids.

    `per_tensor`: each tensor has a codebook of its own.
    """
    with_orders = any(one.order_share for one in records)
    orders = ("order\n0 %", "\n1 %", "\n2 %", "\n3 %", "\n4 %") if with_orders else ()
    table = _table("round", "fixed\n%", "code\nbook", "entropy\nbits", "\nMB", "fixed width\nMB", *orders)
    for one in records:
        table.add_row(
            str(one.round + 1),
            f"{100 * one.fraction:.1f}",
            f"{one.codebook_size:,}",
            f"{one.tensor_entropy_bits if per_tensor else one.entropy_bits:.2f}",
            f"{one.size.entropy_mb:.2f}",
            f"{one.size.fixed_mb:.2f}",
            *(f"{100 * share:.1f}" for share in one.order_share or ()),
        )
    return table


def distance_table(records: Sequence[DryRunRecord], unit: str) -> Table:
    """Return a table of how far each round's weights are from where they started."""
    relative = ("moved by % of\nitself: mean", "\n99 %", "\nmax")
    table = _table("round", f"limit\n{unit}", *relative, f"in {unit}\nmean", "\n99 %", "\nmax", "\nsec")
    for one in records:
        spreads = [100 * value for value in (one.relative.mean, one.relative.p99, one.relative.largest)]
        spreads += [one.tolerances.mean, one.tolerances.p99, one.tolerances.largest]
        table.add_row(
            str(one.round + 1),
            f"{one.threshold:,.4g}",
            *(_number(value) for value in spreads),
            f"{one.cluster_seconds:.1f}",
        )
    return table


def layers_table(layers: Sequence[TensorMove], unit: str) -> Table:
    """Return a table of the most displaced tensors after the last round."""
    table = _table("most displaced layers", "weights", "L2\n%", "moved by\nmean %", f"in {unit}\nmean")
    for one in layers:
        table.add_row(
            one.name, f"{one.weights:,}", _number(100 * one.l2), _number(100 * one.relative), _number(one.tolerances)
        )
    return table


def _number(value: float) -> str:
    """Write three digits, whatever the size."""
    return f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:.3g}"


def conclusion(last: DryRunRecord, weights: int, zeros: int, unit: str, per_tensor: bool) -> str:
    """Describe the outcome in words.

    Args:
        last: the record of the last round.
        weights: how many weights are quantized.
        zeros: how many of them start at exactly 0.
        unit: the unit of the tolerances.
        per_tensor: whether each tensor has a codebook of its own.

    Returns:
        Two or three lines.
    """
    size, values = last.size, "values" if last.codebook_size > 1 else "value"
    bits = last.entropy_bits
    if per_tensor:
        values, bits = f"{values}, at most {last.tensor_values:,} in one tensor", last.tensor_entropy_bits
    lines = [
        f"{weights:,} weights on {last.codebook_size:,} {values}: entropy {bits:.2f} bits each, "
        f"{size.entropy_mb:.2f} MB at the entropy, {size.fixed_mb:.2f} MB at {size.index_bits} bits, instead of "
        f"{size.fp32_mb:.2f} MB ({size.fp32_mb / size.entropy_mb:.1f} and {size.fp32_mb / size.fixed_mb:.1f} times "
        "smaller).",
        f"The last weights could move {last.threshold:,.6g} {unit}. In the mean a weight moved by "
        f"{100 * last.relative.mean:.3g} % of itself, {last.tolerances.mean:.3g} of its starting {unit}.",
    ]
    if zeros:
        lines.append(f"{zeros:,} weights start at exactly 0: they have no share of themselves and are left out there.")
    return "\n".join(lines)
