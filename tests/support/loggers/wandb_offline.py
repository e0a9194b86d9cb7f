"""Read what an offline W&B run wrote: W&B itself has no Python reader for its .wandb files."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from wandb.proto import wandb_internal_pb2

WRITING_SECONDS = 20
_BLOCK = 32768  # the file is a LevelDB log: records cut into fragments that never cross a block's border
_HEADER = 7  # of the file, and of each fragment: crc, length, type


@dataclass
class OfflineRun:
    name: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    entity: str = ""
    notes: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    step_metrics: dict[str, str] = field(default_factory=dict)  # metric or glob -> its x-axis
    exit_code: int | None = None
    preempting: bool = False
    artifacts: list[Any] = field(default_factory=list)  # wandb's own records, those of tables included


def find_runs(save_dir: Path) -> list[Path]:
    """The .wandb files below a logger's save_dir, oldest first."""
    folders = list(Path(save_dir).glob("wandb/offline-run-*"))
    _wait(lambda: all(any(folder.glob("run-*.wandb")) for folder in folders))
    return sorted(Path(save_dir).glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns)


def _wait(until: Callable[[], bool]) -> None:
    """W&B's helper process goes on writing for a while after `finish`, longer on a busy machine."""
    deadline = time.monotonic() + WRITING_SECONDS
    while not until() and time.monotonic() < deadline:
        time.sleep(0.05)


def read_run(path: Path) -> OfflineRun:
    """What is in the file of a run that was finished."""
    run = OfflineRun()

    def complete() -> bool:
        nonlocal run
        try:
            run = _read(path)
        except DecodeError:  # the last record is half written
            return False
        return run.exit_code is not None

    _wait(complete)
    return run


def _read(path: Path) -> OfflineRun:
    run = OfflineRun()
    for payload in _records(Path(path).read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.name, run.project, run.group = record.run.display_name, record.run.project, record.run.run_group
            run.entity, run.notes = record.run.entity, record.run.notes
            run.job_type, run.tags = record.run.job_type, list(record.run.tags)
            run.config.update(_items(record.run.config.update))
        elif kind == "config":
            run.config.update(_items(record.config.update))
        elif kind == "history":
            run.history.append(_items(record.history.item))
        elif kind == "summary":
            run.summary.update(_items(record.summary.update))
        elif kind == "metric":
            run.step_metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            run.artifacts.append(record.artifact)
        elif kind == "preempting":
            run.preempting = True
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> list[bytes]:
    records, parts, at = [], b"", _HEADER
    while at + _HEADER <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:  # the rest of a block that cannot hold a fragment's header is padding
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        at += _HEADER
        parts += data[at : at + length]
        at += length
        if kind in (1, 4):  # a whole record, or the last fragment of one
            records.append(parts)
            parts = b""
    return records
