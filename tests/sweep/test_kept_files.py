"""What a sweep says at its end of the size of its runs, and of the checkpoints of those that stopped."""

from __future__ import annotations

import shlex
from pathlib import Path

from pwfn.sweep.kept_files import size_lines
from pwfn.sweep.table import Row


def made(folder: Path, number: int, code: int | None, **files: int) -> Row:
    """A job, with files of these sizes."""
    place = folder / f"{number}_it's"
    for name, size in files.items():
        path = place / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return Row(number, [], place, code)


def test_finished_runs_are_summed_up(tmp_path: Path) -> None:
    rows = [made(tmp_path, 0, 0, model_pwfn=400_000, result_json=100_000), made(tmp_path, 1, 0, model_pwfn=1_500_000)]
    assert size_lines(rows) == ["2 runs take 2.0 MB, without their networks, which keep=all keeps"]
    rows.append(made(tmp_path, 2, 0, model_pwfn=0, network_safetensors=3_000_000))
    assert size_lines(rows) == ["3 runs take 5.0 MB, keep=result leaves their networks out"]
    assert size_lines([made(tmp_path, 3, 0, seen_json=10)]) == []  # of another program


def test_checkpoints_of_stopped_jobs_are_listed_with_how_to_remove_them(tmp_path: Path) -> None:
    rows = [
        made(tmp_path, 0, 130, checkpoints__1_ckpt=2_000_000),
        made(tmp_path, 1, None, checkpoints__1_ckpt=1_000_000),
        made(tmp_path, 2, 1, result_json=10),
    ]
    first, second = (row.folder / "checkpoints" for row in rows[:2])
    listed, command = size_lines(rows)
    assert listed == f"Checkpoints of runs that have not ended: {first} (2.0 MB), {second} (1.0 MB)"
    assert shlex.split(command.partition(": ")[2]) == ["rm", "-r", str(first), str(second)]
