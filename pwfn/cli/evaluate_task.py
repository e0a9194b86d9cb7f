"""Measure a finished run or an artifact, print the tables, write files and pictures."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from pwfn.checkpoint import saved_run
from pwfn.cli import hydra_program
from pwfn.config import build, program
from pwfn.data.loading.loader_faults import loader_fault
from pwfn.errors import RunError
from pwfn.evaluation import tables
from pwfn.evaluation.analyses.registry import chosen
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.logged_figures import log_evaluation
from pwfn.evaluation.measure import MEAN, Measured, Setup, measure
from pwfn.evaluation.metrics import by_class
from pwfn.evaluation.plots import draw_confusion, draw_reliability, draw_risk_coverage
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.evaluation.subject import CLUSTERED, Subject
from pwfn.evaluation.tables import Section
from pwfn.monitoring.console import show
from pwfn.records import instead

UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)


def evaluate(cfg: DictConfig) -> None:
    """Measure or report as `cfg` says; end the program with one line where that fails."""
    settings = build.load(EvaluateSettings, cfg, importable=None, seen_from=hydra_program.started_in())
    try:
        if settings.report is not None:
            report_on(settings.report, settings.output)
        else:
            run(settings, Console())
    except saved_run.NotAFinishedRun as error:
        meant = "" if settings.run is None else instead.of_run(Path(settings.run))
        print(f"pwfn: {error}{meant}", file=sys.stderr)
        raise SystemExit(2) from None
    except (build.ConfigError, RunError) as error:
        print(f"pwfn: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (OSError, RuntimeError) as error:
        if (fault := loader_fault(error) or _unwritable(error)) is None:
            raise
        print(f"pwfn: {fault}", file=sys.stderr)
        raise SystemExit(1) from None


def _unwritable(error: BaseException) -> str | None:
    """Name a folder that cannot be made, where that is the error."""
    if not isinstance(error, OSError) or error.filename is None or error.errno not in UNWRITABLE:
        return None
    return f"{error.filename} cannot be written to ({error.strerror}): output=<folder> writes elsewhere"


def report_on(folders: str | tuple[str, ...], output: str | None) -> None:
    """Write report.html of all runs in and below the folders."""
    from pwfn.report import REPORT
    from pwfn.report.page import write_report

    places = [Path(folder) for folder in ((folders,) if isinstance(folders, str) else folders)]
    target = Path(output or _report_folder(places[0] if len(places) == 1 else Path("."))) / REPORT
    count = write_report(places, target)
    print(f"{count} {'run' if count == 1 else 'runs'} in {target}")


def _report_folder(place: Path) -> Path:
    """Return the folder of a report; in a checkout that of its runs, which git ignores."""
    above = program.checkout()
    return place / "outputs" if above is not None and place.resolve() == above.resolve() else place


def run(settings: EvaluateSettings, console: Console) -> Measured:
    """Measure what the settings name; print everything and write it to the evaluation's folder."""
    subject = subject_of(settings)
    analyses = chosen(settings)
    for analysis in analyses:
        analysis.check()  # what is missing is said before anything is measured
    subject.folder.mkdir(parents=True, exist_ok=True)
    before = _files(subject.folder)
    with _progress(console, settings.quiet) as say:
        say("reading the images")
        setup = Setup.of(settings, subject, say)
        for analysis in analyses:
            setup = analysis.prepare(setup)
        measured = measure(setup)
        sections = [found for analysis in analyses if (found := analysis.run(setup, measured)) is not None]
    names = _class_names(subject)
    facts = {
        "seed": settings.seed,
        "bins": settings.bins,
        "resamples": settings.resamples,
        "precision": setup.on.precision,
    }
    tables.write_json(subject.folder / "evaluation.json", tables.as_json(subject, measured, facts, sections))
    tables.write_classes(subject.folder / "classes.csv", measured, names)
    draw_reliability(measured, settings.bins, subject.folder / "reliability.png")
    draw_risk_coverage(measured, subject.folder / "risk_coverage.png")
    draw_confusion(measured.row(CLUSTERED, MEAN), names, subject.folder / "confusion.png")
    _print(console, settings, subject, measured, names, sections)
    written = sorted(name for name, time in _files(subject.folder).items() if time != before.get(name))
    show(console, f"Written to {subject.folder}: {', '.join(written)}")
    pictures = [subject.folder / name for name in written if name.endswith(".png")]
    log_evaluation(settings, subject, measured, sections, pictures)
    return measured


def _files(folder: Path) -> dict[str, int]:
    """Return the files of a folder, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def _print(
    console: Console,
    settings: EvaluateSettings,
    subject: Subject,
    measured: Measured,
    names: list[str],
    sections: list[Section],
) -> None:
    final = measured.row(CLUSTERED, MEAN)
    show(console, subject.title, "bold")
    show(console, tables.metrics_table(measured))
    if settings.resamples:
        show(console, tables.intervals_table(measured))
    show(console, tables.classes_table(final, names, by_class(final.answers, len(names))))
    for shown in (part for section in sections for part in section.shown):
        show(console, shown)
    for line in (*tables.change_lines(measured), *tables.recorded_lines(subject, measured), *subject.notes):
        show(console, line)


def _class_names(subject: Subject) -> list[str]:
    spec = subject.data.spec
    return list(map(str, spec.test_class_names or range(spec.num_classes)))


@contextmanager
def _progress(console: Console, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show a changing line in a terminal, nothing elsewhere or when quiet."""
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda text: status.update(text)
