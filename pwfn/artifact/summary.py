"""Tell in a few lines what an artifact holds, from what `describe` returns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

_LISTED = 10  # names of classes


def summary_lines(header: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each fact that a reader wants first; what the file does not tell is left out.

    Args:
        header: as `pwfn.describe` returns it.
    """
    receipt = header["receipt"]
    facts = {
        "network": _network(header),
        "classes": _classes(header),
        "accuracy": _accuracy(header["metrics"]),
        "weights": _weights(header),
        "bits": _bits(receipt),
        "file": _file(header),
        "made by": _maker(header),
    }
    yield from (_printable(f"{name:<9} {fact}") for name, fact in facts.items() if fact)


def layer_lines(header: Mapping[str, Any]) -> Iterator[str]:
    """Yield a heading and a line for each tensor: its name, its shape, and how the file holds it."""
    rows = [("tensor", "shape", "elements", "in the file")]
    for one in header["coded"]:
        free = f", {one['free']:,} free" if one["free"] else ""
        rows.append(_row(one, f"coded{free}"))
    rows += [_row(one, one["dtype"]) for one in header["plain"]]
    rows += [_row(one, "one number") for one in header["filled"]]
    wide, long, count = (max(len(row[column]) for row in rows) for column in range(3))
    lines = (f"{name:<{wide}}  {shape:<{long}}  {size:>{count}}  {form}" for name, shape, size, form in rows)
    yield from map(_printable, lines)


def _printable(text: str) -> str:
    """Replace what a terminal would obey rather than show: anyone may have written the file."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _row(tensor: Mapping[str, Any], form: str) -> tuple[str, str, str, str]:
    shape = " x ".join(map(str, tensor["shape"])) or "1"
    return ", ".join(tensor["names"]), shape, f"{math.prod(tensor['shape']):,}", form


def _network(header: Mapping[str, Any]) -> str:
    model, data = header["model"], header["data"]
    name = f"timm's {model['name']}" if model else "not one of timm's: pwfn.load needs the model to fill"
    return f"{name}, images of {' x '.join(map(str, data['input_size']))}" if data else name


def _classes(header: Mapping[str, Any]) -> str:
    names, model = header["class_names"], header["model"]
    if not names:
        return f"{model['num_classes']:,}, without names" if model else ""
    more = ", ..." if len(names) > _LISTED else ""
    return f"{len(names):,}: {', '.join(names[:_LISTED])}{more}"


def _accuracy(metrics: Any) -> str:
    after, before = (_number(metrics, *keys) for keys in (("final", "clustered/top1"), ("pretrained", "top1")))
    if after is None:
        return ""
    compared = "" if before is None else f", before compression {before:.2f} %"
    return f"top1 {after:.2f} % of the test images of its run{compared}"


def _weights(header: Mapping[str, Any]) -> str:
    book = header["codebook"]
    values = len(book["numerators"] if book["numerators"] is not None else book["bits"] or ())
    free = f", {header['free']:,} of them free" if header["free"] else ""
    return f"{header['weights']:,} share {values:,} values{free}"


def _bits(receipt: Mapping[str, Any]) -> str:
    named = {"file_bits": "per weight in the file", "entropy_bits": "per weight by the entropy of all values together"}
    found = ((_number(receipt, key), what) for key, what in named.items())
    return ", ".join(f"{bits:.3f} {what}" for bits, what in found if bits is not None)


def _file(header: Mapping[str, Any]) -> str:
    receipt, form = header["receipt"], header["plain_form"]
    whole, plain = _number(receipt, "float32"), _number(receipt, "plain")
    facts = [f"{header['file'] / 1e6:.3f} MB"]
    facts += [f"{plain / 1e6:.3f} MB of it norms and biases{f' as {form}' if form else ''}"] if plain else []
    facts += [f"{whole / 1e6:.3f} MB as float32"] if whole else []
    return ", ".join([*facts, f"format version {header['format_version']}"])


def _maker(header: Mapping[str, Any]) -> str:
    config, writer = header["config"], f"pwfn {header['writer'].get('pwfn', '?')}"
    if not config:
        return f"{writer}, pwfn.save"
    chosen = [f"{key} {name}" for key in ("clustering", "codebook") if (name := _class(config.get(key)))]
    fractions = _value(config, "schedule", "fractions")
    chosen += [f"{len(fractions)} round{'s' if len(fractions) > 1 else ''}"] if isinstance(fractions, list) else []
    chosen += [f"seed {config['seed']}"] if "seed" in config else []
    return ", ".join([writer, *chosen])


def _class(section: Any) -> str:
    """Return the class of a section of a configuration, without its module."""
    target = section.get("_target_") if isinstance(section, Mapping) else None
    return target.rpartition(".")[2] if isinstance(target, str) else ""


def _value(content: Any, *keys: str) -> Any:
    """Return what is there under the keys; None where there is nothing: a writer may leave it out."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _number(content: Any, *keys: str) -> float | None:
    found = _value(content, *keys)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None
