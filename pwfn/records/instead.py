"""Name the command that was meant where a key was given a folder or file of another kind."""

from __future__ import annotations

from pathlib import Path

from pwfn.config import program
from pwfn.config.wording.quoting import path_as_typed
from pwfn.records.files import ARTIFACT, CHECKPOINTS, CONFIG, PLAN, RESULT


def of_run(path: Path) -> str:
    """Return what follows the refusal of `evaluate run=<path>`; nothing where no other command fits."""
    train, evaluate = " ".join(program.typed("train")), " ".join(program.typed("evaluate"))
    if _is_artifact(path):
        return f"; it is an artifact: {evaluate} {path_as_typed('artifact', str(path))} data=<its images>"
    if (path / PLAN).is_file():
        return (
            f"; it is a sweep: {evaluate} {path_as_typed('report', str(path))} compares its runs, "
            "run=<one of the folders in it> measures one"
        )
    if _stopped(path):
        return f"; it was stopped, go on with it first: {train} {path_as_typed('resume', str(path))}"
    if (path / ARTIFACT).is_file():
        where = path_as_typed("artifact", str(path / ARTIFACT))
        return f"; it holds an artifact: {evaluate} {where} data=<its images>"
    return ""


def of_artifact(path: Path) -> str:
    """Return what follows the refusal of `evaluate artifact=<path>`."""
    if (path / ARTIFACT).is_file():
        own = path_as_typed("artifact", str(path / ARTIFACT))
        whole = f", or {path_as_typed('run', str(path))} for all networks of the run" if _finished(path) else ""
        return f"; it is a folder: write {own}{whole}"
    return of_run(path) if (path / PLAN).is_file() or _stopped(path) else ""


def of_resume(path: Path) -> str:
    """Return what follows the refusal of `train resume=<path>`."""
    train = " ".join(program.typed("train"))
    if (path / PLAN).is_file():
        return f"; it is a sweep: {train} -m {path_as_typed('resume_sweep', str(path))}"
    return f"; it is an artifact, and {path.parent} may be its run" if _is_artifact(path) else ""


def of_resume_sweep(path: Path) -> str:
    """Return what follows the refusal of `train -m resume_sweep=<path>`."""
    train = " ".join(program.typed("train"))
    if (path.parent / PLAN).is_file():
        return f"; it is a job of a sweep: {train} -m {path_as_typed('resume_sweep', str(path.parent))}"
    if _finished(path):
        evaluate = " ".join(program.typed("evaluate"))
        return f"; it is a single run, and finished: {evaluate} {path_as_typed('run', str(path))}"
    is_run = (path / CONFIG).is_file()
    return f"; it is a single run: {train} {path_as_typed('resume', str(path))}" if is_run else ""


def of_animate(path: Path) -> str:
    """Return what follows the refusal of `pwfn animate run=<path>`."""
    if not path.exists():
        return "; there is no such folder"
    if _is_artifact(path):
        where = (
            f"{path.parent} may be its run" if (path.parent / CONFIG).is_file() else "the folder of its run is needed"
        )
        return f"; it is an artifact, which holds no rounds: {where}"
    if (path / PLAN).is_file():
        one = " ".join(program.typed("animate"))
        return f"; it is a sweep: {one} run=<one of the folders in it>"
    if _stopped(path):
        return f"; it was stopped, go on with it first: {' '.join(program.typed('train'))} " + path_as_typed(
            "resume", str(path)
        )
    return ""


def _is_artifact(path: Path) -> bool:
    return path.is_file() and path.suffix == Path(ARTIFACT).suffix


def _finished(path: Path) -> bool:
    return (path / RESULT).is_file()


def _stopped(path: Path) -> bool:
    return (path / CONFIG).is_file() and (path / CHECKPOINTS).is_dir() and not _finished(path)
