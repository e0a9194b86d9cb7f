"""Say in words what a run was: network, images, way of compression, and the files it left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pwfn.records.files import ARTIFACT, CONFIG, LAYERS, RECORDS, SUMMARY_FILE
from pwfn.report.collect import Run
from pwfn.report.files import Number, number

# those that a reader opens; a link to each that the run has
FILES = (
    ARTIFACT,
    CONFIG,
    "rounds.csv",
    RECORDS,
    "clusters.csv",
    LAYERS,
    SUMMARY_FILE,
    "provenance.json",
    "train.log",
    "console.log",
    "rounds.png",
    "weights.png",
    "rounds.gif",
    "evaluation",
)


def images_of(run: Run) -> str | None:
    """Name the data set of a run, with its folder or name where it has one."""
    source = run.config.get("data._target_")
    if source is None:
        return None
    own = next((run.config[key] for key in ("data.name", "data.root") if run.config.get(key)), None)
    return _class(source) + (f" {own}" if own else "")


def subject_of(run: Run) -> str:
    """Name what a run compressed and what it was measured on."""
    count = count_of(run, "test_images")
    measured = f"{images_of(run)} ({count:,} test images)" if count else images_of(run)
    network = run.config.get("model.name")
    return f"{network} on {measured}" if network and measured else ""


def count_of(run: Run, what: str) -> int | None:
    """Return the number of `test_images` or `classes` that a finished run has recorded."""
    found = number(run.facts.get(what))
    return int(found) if found else None


def way_of(run: Run) -> str:
    """Say in a few words how a run compresses: by rounds of training or at once; and its budget."""
    fractions = run.config.get("schedule.fractions")
    if not isinstance(fractions, list):
        return ""
    epochs = [number(run.config.get(f"schedule.{key}")) for key in ("first_epochs", "rest_epochs")]
    way = "no training" if len(fractions) == 1 and not any(epochs) else _of(len(fractions), "round")
    budget = budget_of(run)
    return f"{way}, {budget}" if budget else way


def budget_of(run: Run) -> str:
    """Return the budget that a run was given; nothing where it was given none."""
    units = {"bits": "file bits", "megabytes": "MB", "drop": "points lost"}
    given = {unit: number(run.config.get(f"budget.{key}")) for key, unit in units.items()}
    return ", ".join(f"at most {value:g} {unit}" for unit, value in given.items() if value is not None)


def facts(run: Run) -> list[list[str]]:
    """Return a name and a text for each thing known of a run, in the order in which they are asked for."""
    return [[name, text] for name, text in _facts(run) if text]


def files(run: Run, page: Path) -> list[list[str]]:
    """Return the name of each file that a run has left, and its address seen from the folder `page`."""
    place = Path(os.path.relpath(run.folder.absolute(), page.absolute()))
    return [[name, quote(os.fsencode(place / name))] for name in FILES if (run.folder / name).exists()]


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    config = run.config
    if not config:
        return
    yield "network", _words(config.get("model.name"), _weights_from(run))
    shown = [f"{count:,} {name}" for name in ("test_images", "classes") if (count := count_of(run, name))]
    yield "images", _words(images_of(run), *(text.replace("_", " ") for text in shown))
    before = "" if run.pretrained is None else f"{run.pretrained:.2f} % on the test images"
    epochs = number(config.get("pretrain.epochs"))
    yield "pretrained", _words(before, f"{_of(epochs, 'epoch')} of training first" if epochs else None)
    yield "compressed by", _words(way_of(run), _epochs(run))
    yield "clustering", _choice(config, "clustering", "start", "end", "inc", "rate")
    if "clustering.start" in config:  # another rule has no use for tolerances
        yield "tolerance", _choice(config, "tolerance", "value", "share", "batches")
    yield "codebook", _choice(config, "codebook", "b", "max_order", "per_tensor_max")
    fractions = config.get("schedule.fractions")
    yield "fixed after each round", ", ".join(f"{100 * n:g} %" for n in map(number, fractions or []) if n is not None)
    yield "finish", _finish(config)
    yield "size", _size(run)


def _weights_from(run: Run) -> str:
    if checkpoint := run.config.get("model.checkpoint"):
        return f"weights of {checkpoint}"
    return "pretrained weights of timm" if run.config.get("model.pretrained") is True else "random weights at first"


def _epochs(run: Run) -> str | None:
    first, rest = (number(run.config.get(f"schedule.{key}_epochs")) for key in ("first", "rest"))
    if not first and not rest:
        return None
    return f"{_of(first or 0, 'epoch')} before the first clustering, {rest or 0:g} before each other"


def _finish(config: dict[str, Any]) -> str:
    epochs, images = (number(config.get(f"finish.{key}")) for key in ("epochs", "batchnorm_images"))
    training = f"{_of(epochs, 'epoch')} for what stays in floating point" if epochs else None
    return _words(training, f"new BatchNorm statistics of {images:,} images" if images else None)


def _size(run: Run) -> str:
    file, float32, bits = (run.size.get(key) for key in ("file", "float32", "file_bits"))
    if not file or not float32:
        return ""
    each = f"{bits:.3f} bits for each weight in it" if bits is not None else None
    return _words(f"{_megabytes(float32)} in float32", f"{_megabytes(file)} in {ARTIFACT}", each)


def _of(count: int | float, what: str) -> str:
    return f"{count:g} {what}{'' if count == 1 else 's'}"


def _megabytes(size: Number) -> str:
    return f"{(size or 0) / 1e6:.3f} MB"


def _choice(config: dict[str, Any], group: str, *keys: str) -> str:
    """Return the class of a group and its named keys, as they are written on a command line."""
    target = config.get(f"{group}._target_")
    given = [(key, config.get(f"{group}.{key}")) for key in keys]
    return _words(_class(target) if target else None, *(f"{key}={value}" for key, value in given if value is not None))


def _class(target: Any) -> str:
    return str(target).rpartition(".")[2]


def _words(*texts: Any) -> str:
    return ", ".join(str(text) for text in texts if text)
