"""Send the figures and pictures of an evaluation to its logger."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pwfn.evaluation.measure import Measured
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.evaluation.subject import Subject
from pwfn.evaluation.tables import Section
from pwfn.monitoring.loggers.spec import run_logger


def log_evaluation(
    settings: EvaluateSettings, subject: Subject, measured: Measured, sections: Sequence[Section], pictures: list[Path]
) -> None:
    """Log every figure, and the pictures where the logger can.

    The keys are `<network>/<weights>/<metric>` and `<analysis>/<figure>`.

    Args:
        settings: of the evaluation; their logger is built here, and closed in any case.
        subject: what was evaluated.
        measured: the figures of all networks.
        sections: what the optional analyses found.
        pictures: PNG files.
    """
    spec = settings.logger.for_evaluation()
    for remark in settings.logger.remarks:
        warnings.warn(remark, RuntimeWarning, stacklevel=2)
    name = f"evaluation of {subject.title}"
    config = asdict(settings) | {"evaluated": subject.identity}
    group = subject.identity.get("group")
    logger = spec.build(config=config, name=name, folder=subject.folder, group=group)
    if logger is None:
        return
    exit_code = 1
    try:
        values = {
            f"{row.network}/{row.mode}/{key}": value
            for row in measured.rows
            for key, value in row.figures.items()
            if value is not None
        }
        for section in sections:
            values |= dict(_numbers(section.name, section.content))
        told = run_logger(logger)
        told.report_summary(values)
        told.report_pictures({f"evaluation/{picture.stem}": picture for picture in pictures})
        exit_code = 0
    finally:
        spec.close(logger, exit_code)


def _numbers(key: str, content: Any) -> Iterator[tuple[str, float]]:
    """Yield the single numbers in nested mappings; the rows of lists are in the files."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _numbers(f"{key}/{name}", value)
    elif isinstance(content, int | float):
        yield key, content
