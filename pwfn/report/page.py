"""Write report.html from any folders that hold runs, one file that needs nothing else."""

from __future__ import annotations

import base64
import gzip
import secrets
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pwfn.config import program
from pwfn.errors import RunError
from pwfn.records.files import write_text
from pwfn.records.rounds import COLUMNS
from pwfn.report.collect import FAILED, FINISHED, UNFINISHED, WITHOUT_TRAINING, Job, Run, find_runs, read_run
from pwfn.report.compare import FIGURES, Cell, Heading, difference_cells, differences, figure_cells
from pwfn.report.details import as_json, details
from pwfn.report.facts import count_of, images_of, subject_of
from pwfn.report.figures import COLORS, SHAPES, charts, plotly_js

MOST_BYTES = 3_000_000  # of the details of all runs together, so that the page stays below 6 MB
X_AXIS = ("round", "fraction")  # of the curves
SCRIPTS = ("table.js", "charts.js", "details.js", "page.js")


class ReportError(RunError):
    """Refuse a report: there is no run, or no place to write to; the message is one line."""


@dataclass(frozen=True)
class Row:
    """Hold one run of the table."""

    run: Run
    status: str
    differences: list[Cell]
    figures: list[Cell]

    @property
    def cells(self) -> list[Cell]:
        """Return all cells of the run."""
        return [*self.differences, *self.figures]


def write_report(folders: Sequence[Path], target: Path) -> int:
    """Write the report of all runs in and below `folders`, and return how many; raises ReportError."""
    for folder in folders:
        if not folder.is_dir():
            raise ReportError(f"report = {str(folder)!r}: must be a folder that exists")
    found, jobs = find_runs(folders)
    if not found:
        raise ReportError(f"report = {', '.join(map(str, folders))}: must hold a run, and none is in or below it")
    runs = read_runs(found, jobs)
    where = ", ".join(str(folder) for folder in folders)
    # the name of a file, and so an override, may hold bytes that are no text
    page = render(runs, where, target.parent).encode("utf-8", "backslashreplace").decode("utf-8")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, page)
    except OSError as error:
        raise ReportError(f"{target} cannot be written: {error.strerror or error}") from error
    return len(runs)


def read_runs(folders: Sequence[Path], jobs: Mapping[Path, Job]) -> list[Run]:
    """Read the runs in these folders; those of one name are told apart by the ends of their paths."""
    of_jobs = [jobs.get(folder.resolve()) for folder in folders]
    paths = short_paths([_parts(folder, job) for folder, job in zip(folders, of_jobs, strict=True)])
    runs = [read_run(folder, path, job) for folder, path, job in zip(folders, paths, of_jobs, strict=True)]
    often = Counter(run.name for run in runs)
    return [
        run if often[run.name] == 1 else replace(run, name=f"{run.name} ({path})")
        for run, path in zip(runs, paths, strict=True)
    ]


def _parts(folder: Path, job: Job | None) -> tuple[str, ...]:
    """Return the parts of a run's path; a job is named by its number, as in the table."""
    *above, last = folder.absolute().parts
    return (*above, last if job is None or job.number is None else f"job {job.number}")


def short_paths(parts: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the shortest end of each path that no other has; in one folder all are equally long."""
    lengths = [0] * len(parts)
    for length in range(1, max(map(len, parts)) + 1):
        often = Counter(one[-length:] for one in parts)
        lengths = [found or length * (often[one[-length:]] == 1) for found, one in zip(lengths, parts, strict=True)]
    longest: dict[tuple[str, ...], int] = {}
    for one, length in zip(parts, lengths, strict=True):
        longest[one[:-1]] = max(longest.get(one[:-1], 0), length)
    return ["/".join(one[-longest[one[:-1]] :]) for one in parts]


def render(runs: Sequence[Run], where: str, place: Path = Path(".")) -> str:
    """Return the page; whatever text comes from a run is escaped, in the markup and in the data.

    Args:
        runs: in the order of the table.
        where: they were found.
        place: the folder that the page will be in, for its links.
    """
    differing = differences(runs)
    rows = [Row(run, _status(run), difference_cells(run, differing), figure_cells(run)) for run in runs]
    environment = Environment(
        loader=PackageLoader("pwfn.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"zip": zip, "shell": shlex.quote, "breakable": _breakable}
    environment.globals["train"] = shlex.join(program.typed("train"))
    template = environment.get_template("page.html")
    return template.render(
        nonce=secrets.token_hex(16),
        where=where,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        rows=rows,
        differences=differing,
        figures=FIGURES,
        counts=[_count(status, count) for status, count in Counter(run.status for run in runs).items()],
        best=_best(rows),
        subjects=list(dict.fromkeys(filter(None, map(subject_of, runs)))),
        validated=_are_validated(rows),
        several=_are_of_several_images(rows),
        broken=[row for row in rows if row.run.status in (FAILED, UNFINISHED) or row.run.problems],
        compared=sum(row.run.status == FINISHED for row in rows) > 1,
        style=_asset("page.css"),
        scripts=Markup("\n").join(map(_asset, SCRIPTS)),
        plotly=base64.b64encode(gzip.compress(plotly_js().encode(), mtime=0)).decode(),
        data=Markup(_data(rows, differing, place)),
    )


def _asset(name: str) -> Markup:
    return Markup((Path(__file__).parent / "assets" / name).read_text(encoding="utf-8"))


def _count(status: str, count: int) -> str:
    several = status in WITHOUT_TRAINING.values() and count > 1  # nouns, where the others are adjectives
    return f"{count} {status}{'s' if several else ''}"


def _status(run: Run) -> str:
    if run.status not in (UNFINISHED, FAILED):
        return run.status
    done, planned = len(run.rounds), run.planned_rounds
    return f"{run.status} {min(done, planned)}/{planned}" if planned else run.status


def _best(rows: Sequence[Row]) -> Row | None:
    """Return the finished run of the highest accuracy, of several the one of the fewest bits.

    It is that on validation images, where all runs have some. There is none among runs of different images; and one of
    a single class is always right.
    """
    if _are_of_several_images(rows):
        return None
    accuracy, bits = _column("val_top1" if _are_validated(rows) else "top1"), _column("entropy_bits")
    done = [row for row in _measured(rows) if row.figures[accuracy].value is not None]
    return max(done, key=lambda row: (_real(row.figures[accuracy]), -_real(row.figures[bits])), default=None)


def _are_validated(rows: Sequence[Row]) -> bool:
    """Tell whether every finished run was measured on validation images too."""
    column = _column("val_top1")
    return all(row.figures[column].value is not None for row in _measured(rows))


def _column(key: str) -> int:
    return next(i for i, one in enumerate(FIGURES) if one.key == key)


def _measured(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.run.status == FINISHED and count_of(row.run, "classes") != 1]


def _are_of_several_images(rows: Sequence[Row]) -> bool:
    runs = [row.run for row in _measured(rows)]
    counts = {count_of(run, "test_images") for run in runs} - {None}  # runs of earlier versions have not recorded it
    return len(set(map(images_of, runs))) > 1 or len(counts) > 1


def _breakable(text: str) -> Markup:
    """Let a long key be broken after its dots."""
    return Markup(".<wbr>").join(text.split("."))


def _real(cell: Cell) -> float:
    return float(cell.value) if isinstance(cell.value, int | float) else 0.0


def _data(rows: Sequence[Row], differing: Sequence[Heading], place: Path) -> str:
    """Write what the scripts read, as JSON.

    The runs whose details find no room keep their rows in the table.
    """
    texts = ["null"] * len(rows)
    left = MOST_BYTES
    top1 = _column("top1")
    for index in sorted(range(len(rows)), key=lambda i: -_real(rows[i].figures[top1])):
        text = as_json(details(rows[index].run, place))
        left -= len(text)
        if left > 0:
            texts[index] = text
    shared = {
        "charts": charts(),
        "colors": COLORS,
        "shapes": SHAPES,
        "keys": [heading.key for heading in (*differing, *FIGURES)],
        "groups": [[i, heading.text] for i, heading in enumerate(differing) if _groups(rows, i)],
        "names": [row.run.name for row in rows],
        "statuses": [row.run.status for row in rows],
        "values": [[cell.value for cell in row.cells] for row in rows],
        "texts": [[cell.text for cell in row.differences] for row in rows],
        "metrics": [
            [column.key, f"{column.key}, {column.unit}"] for column in COLUMNS.values() if column.key not in X_AXIS
        ],
        "best": next((i for i, row in enumerate(rows) if row is _best(rows)), 0),
        "pretrained": [row.run.pretrained for row in rows],
    }
    return f'{{"shared":{as_json(shared)},"details":[{",".join(texts)}]}}'


def _groups(rows: Sequence[Row], index: int) -> bool:
    """Tell whether a key has few enough values for each to have a color and a shape."""
    return 2 <= len({row.differences[index].text for row in rows}) <= len(SHAPES)
