"""Keep the name, the sweep and the W&B id of a run, so that they are the same when it is resumed."""

from __future__ import annotations

import json
import secrets
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pwfn.errors import one_line
from pwfn.records.files import CHECKPOINTS, write_text

_FILE = "identity.json"


@dataclass(frozen=True)
class Identity:
    """Name a run.

    Attributes:
        name: what people call the run.
        group: its sweep; None: it belongs to none.
        run_id: the run at W&B.
    """

    name: str
    group: str | None
    run_id: str

    @classmethod
    def new(cls, name: str, group: str | None, run_id: str | None = None) -> Identity:
        """Make one, with a random `run_id` where none is given.

        Args:
            name: What people call the run.
            group: Its sweep; None: it belongs to none.
            run_id: The run at W&B; None: eight random hex digits.
        """
        return cls(name, group, run_id or secrets.token_hex(4))  # no draw from the seeded streams

    @classmethod
    def of(cls, run: Path) -> Identity:
        """Read the identity of the run in folder `run`; where it is lost make one named after the folder.

        A damaged file is as good as a lost one, with a warning: the run itself needs none of it.
        """
        path = run / CHECKPOINTS / _FILE
        if not path.is_file():
            return cls.new(run.name, None)
        try:
            return _checked(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            lost = "the run goes on under the name of its folder, in no sweep and as a new W&B run"
            warnings.warn(f"{path} cannot be read ({one_line(error)}): {lost}", RuntimeWarning, stacklevel=2)
            return cls.new(run.name, None)

    def write(self, run: Path) -> None:
        """Write it to the checkpoints of the run in folder `run`."""
        (run / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        write_text(run / CHECKPOINTS / _FILE, json.dumps(asdict(self), indent=1) + "\n")


def _checked(saved: Any) -> Identity:
    """Make the identity that a file holds; TypeError or ValueError for one that no run has written."""
    identity = Identity(**saved)
    strings = identity.name, identity.run_id, identity.group or ""
    if not all(isinstance(text, str) for text in strings) or not identity.name or not identity.run_id:
        raise ValueError("its values must be texts")
    return identity
