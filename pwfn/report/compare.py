"""Compare runs in a table: first what differs between their configurations, then their figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pwfn.checkpoint.saved_config import MAY_CHANGE
from pwfn.records.rounds import COLUMNS
from pwfn.report.collect import Run
from pwfn.report.facts import way_of
from pwfn.report.files import Number, number

OWN = ("name", "report")  # of the run's label and of this file, not of what was computed
SHOWN = 4  # of the keys that differ, before the reader asks for more
ABSENT = ""


@dataclass(frozen=True)
class Heading:
    """Describe a column: `key` is its full name, `numbers` says whether its cells are figures."""

    key: str
    text: str
    meaning: str
    numbers: bool
    shown: bool = True


@dataclass(frozen=True)
class Cell:
    """Hold a cell; `value` is what sorting and filtering go by, None if there is nothing."""

    text: str
    value: str | float | None


FIGURES = (
    Heading("way", "how", "rounds of training and clustering, or one clustering without training; its budget", False),
    Heading("pretrained", "before %", "top-1 of the pretrained network on the same images", True),
    Heading("top1", "top-1 %", COLUMNS["clustered/top1"].meaning, True),
    Heading("val_top1", "val %", "top-1 on validation images, by which runs are chosen", True, shown=False),
    Heading("change", "change", "top-1 less that of the pretrained network, in points", True),
    Heading("entropy_bits", "entropy bits", COLUMNS["entropy_bits"].meaning, True),
    Heading("codebook_size", "values", COLUMNS["codebook_size"].meaning, True),
    Heading("unique_weights", "unique", COLUMNS["unique_weights"].meaning, True, shown=False),
    Heading("file_mb", "file MB", "model.pwfn, the whole network, in 10^6 bytes", True),
    Heading("file_bits", "file bits", "all that model.pwfn spends on weights, for each weight", True, shown=False),
    Heading("norms_mb", "norms MB", "of model.pwfn: norms, biases and all else that is not coded", True, shown=False),
    Heading("smaller", "smaller", "how many times smaller model.pwfn is than the network in float32", True),
    Heading("minutes", "minutes", "wall time of the whole run", True),
)


def figures(run: Run) -> dict[str, Number | str]:
    """Return the figures of a run by the keys of `FIGURES`.

    They are those of its last round, finished or not, or of its result.
    """
    last: Mapping[str, Number] = run.rounds[-1] if run.rounds else run.result
    top1, (file, plain, float32) = last.get("clustered/top1"), map(run.size.get, ("file", "plain", "float32"))
    seconds = number(run.facts.get("seconds"))
    return {
        "way": way_of(run),
        "pretrained": run.pretrained,
        "top1": top1,
        "val_top1": last.get("clustered/val_top1"),
        "change": None if top1 is None or run.pretrained is None else top1 - run.pretrained,
        "entropy_bits": last.get("entropy_bits"),
        "codebook_size": last.get("codebook_size"),
        "unique_weights": last.get("unique_weights"),
        "file_mb": file / 1e6 if file else None,
        "file_bits": run.size.get("file_bits"),
        "norms_mb": None if plain is None else plain / 1e6,
        "smaller": float32 / file if float32 and file else None,
        "minutes": seconds / 60 if seconds is not None else None,
    }


DIGITS = {
    "pretrained": ".2f",
    "top1": ".2f",
    "val_top1": ".2f",
    "change": "+.2f",
    "entropy_bits": ".3f",
    "codebook_size": ",",
    "unique_weights": ",",
    "file_mb": ".3f",
    "file_bits": ".3f",
    "norms_mb": ".3f",
    "smaller": ".1f",
    "minutes": ".2f",
}


def figure_cells(run: Run) -> list[Cell]:
    """Return the cells of a run's figures."""
    found = figures(run)
    return [_figure(found[heading.key], DIGITS.get(heading.key, "")) for heading in FIGURES]


def _figure(value: Number | str, digits: str) -> Cell:
    if isinstance(value, str):
        return Cell(value, value or None)
    return Cell("", None) if value is None else Cell(format(value, digits).replace("-", "\N{MINUS SIGN}"), value)


def differences(runs: Sequence[Run]) -> list[Heading]:
    """Return the keys whose values are not the same in all runs that have a config.

    First come those that were given on a command line, last those that change no result.
    """
    configs = [run.config for run in runs if run.config]
    keys = [key for key in dict.fromkeys(k for config in configs for k in config) if key not in OWN]
    differing = [key for key in keys if len({value_text(config, key) for config in configs}) > 1]
    given = {name for run in runs for name in _given(run)}
    differing.sort(key=lambda key: any(fnmatchcase(key, pattern) for pattern in MAY_CHANGE))
    differing.sort(key=lambda key: not _is_asked(key, given))
    shown = [key for key in differing if _is_asked(key, given) or all(key in config for config in configs)][:SHOWN]
    return [
        Heading(key, key.removesuffix("._target_"), key, _all_numbers(configs, key), shown=key in shown)
        for key in differing
    ]


def _is_asked(key: str, given: set[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in given)


def _given(run: Run) -> list[str]:
    """Return the keys and groups that the run's command line named."""
    lines = run.facts.get("overrides")
    names = [str(line).lstrip("+~").partition("=")[0].replace("/", ".") for line in lines or ()]
    # what a network or data set brings along was not asked for one by one
    ways = {group: [f"{group}.name", f"{group}._target_"] for group in ("data", "model")}
    return [key for name in names for key in ways.get(name, [name])]


def difference_cells(run: Run, headings: Sequence[Heading]) -> list[Cell]:
    """Return the cells of a run for the keys that differ."""
    cells = []
    for heading in headings:
        text, value = value_text(run.config, heading.key), run.config.get(heading.key)
        cells.append(Cell(text, number(value) if _is_number(value) else text or None))
    return cells


def value_text(config: Mapping[str, Any], key: str) -> str:
    """Write a value as on the command line; a class by its name alone."""
    if key not in config:
        return ABSENT
    value = config[key]
    if isinstance(value, str):
        return value.rpartition(".")[2] if key.endswith("_target_") else value
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"  # 2 and 2.0 are the same, and 1e+08 is read faster than nine digits
    return json.dumps(value, default=str, ensure_ascii=False)


def _all_numbers(configs: Sequence[Mapping[str, Any]], key: str) -> bool:
    values = [config[key] for config in configs if key in config]
    return all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
