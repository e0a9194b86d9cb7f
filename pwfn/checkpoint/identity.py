"""Who a run is for the outside world, the same whenever it goes on: its name, its sweep and its W&B id."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from pwfn.records.files import CHECKPOINTS, write_text

_FILE = "identity.json"


@dataclass(frozen=True)
class Identity:
    name: str
    group: str | None
    run_id: str

    @classmethod
    def new(cls, name: str, group: str | None) -> Identity:
        return cls(name, group, secrets.token_hex(4))  # no draw from the seeded streams

    @classmethod
    def of(cls, run: Path) -> Identity:
        """That of the run in folder `run`; of one whose file is lost, a new one named after the folder."""
        path = run / CHECKPOINTS / _FILE
        if not path.is_file():
            return cls.new(run.name, None)
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, run: Path) -> None:
        (run / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        write_text(run / CHECKPOINTS / _FILE, json.dumps(asdict(self), indent=1) + "\n")
