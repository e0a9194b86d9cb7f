"""Prepare the images of a run: its kept split, a look at every file, and what to say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from pwfn.data.files.folder_split import with_kept_choices
from pwfn.data.module import ImageDataModule
from pwfn.records.files import CHECKED, CLASS_ORDER, SPLIT, replacing, write_text
from pwfn.run.settings import TrainSettings


def settle_images(settings: TrainSettings, folder: Path, console: Console, *, resume: bool) -> TrainSettings:
    """Look at the images before anything is built; split those of a resumed run as its folder says.

    Args:
        settings: of the run.
        folder: of the run.
        console: shows how many files have been looked at.
        resume: whether the run resumes.

    Returns:
        The settings, with the split and the order of classes that the folder keeps.

    Raises:
        DataError: images are missing, or some cannot be read.
    """
    data = with_kept_choices(settings.data, folder / SPLIT, folder / CLASS_ORDER) if resume else settings.data
    data.check_layout()
    with _progress(console, quiet=settings.quiet) as progress:
        data.check_files(folder.parent / CHECKED, progress)
    return settings if data is settings.data else replace(settings, data=data)


def keep_choices(data: ImageDataModule, folder: Path) -> None:
    """Write each image's split where the program chose it, and the classes where a file orders them."""
    if (order := data.spec.order_list()) is not None:
        write_text(folder / CLASS_ORDER, order)
    data.setup()
    assert data.partition is not None
    table = data.spec.split_table(data.partition)
    if table is not None:
        with replacing(folder / SPLIT) as unfinished:
            unfinished.write_bytes(table.encode("utf-8", "surrogateescape"))  # file names may be of any bytes


@contextmanager
def _progress(console: Console, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar in a terminal, and nothing anywhere else or when quiet."""
    if quiet or not console.is_terminal:
        yield lambda done, count: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("looking at the images", total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)
