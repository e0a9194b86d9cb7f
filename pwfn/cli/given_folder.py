"""Be the only writer of a command line's folder, before Hydra writes its own files there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from pwfn.config.hydra_internal import only_informs, parsed_flags
from pwfn.records import failure
from pwfn.records.files import NotWritten
from pwfn.records.folder_lock import FolderBusy, only_writer

KEY = "hydra.run.dir"


@contextmanager
def owned(argv: Sequence[str]) -> Iterator[None]:
    """Hold the lock of a single run's folder; exit with code 1 and one line where another process has it.

    A run without `hydra.run.dir` gets a folder that no other one has.
    """
    folder = _given(argv) if failure.is_first_process() else None
    with ExitStack() as stack:
        if folder is not None:
            try:
                stack.enter_context(only_writer(folder))
            except (FolderBusy, NotWritten) as error:
                print(f"pwfn: {error}", file=sys.stderr)
                raise SystemExit(1) from None
        yield


def _given(argv: Sequence[str]) -> Path | None:
    """Return the folder; None for a sweep, for what starts no run, and where only Hydra knows the folder."""
    flags = parsed_flags(argv)
    parsed = [] if only_informs(flags) else OverridesParser.create().parse_overrides(list(flags.overrides))
    values = {o.key_or_group: str(o.value()) for o in parsed if not o.is_sweep_override()}
    text = values.get(KEY, "")
    if flags.multirun or values.get("hydra.mode") == "MULTIRUN" or not text or "${" in text:
        return None
    return Path(text)
