"""Try what clusters, disks, signals and terminals do to a run."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from real_world_cases import Case, Done

PROGRAM = Path(__file__).parents[2] / "train.py"
TINY = (
    "experiment=smoke", "report=false", "data.train_size=64", "data.test_size=60", "pretrain.epochs=1",
    "checkpoint.every_steps=1", "schedule.rest_epochs=20",
)  # fmt: skip
RANKS = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7", "PMI_RANK": "0", "MASTER_PORT": "29999"}
ONCE = ("schedule=one_shot", "schedule.fractions=[1.0]", "checkpoint.every_steps=null")
waiting: list[subprocess.Popen[bytes]] = []  # processes that a case has left running


def run_of(inputs: Path) -> Path:
    """Return the folder that the case's own call will name."""
    return inputs.parent / "run"


def begun(run: Path, *more: str, limit: int | None = None) -> subprocess.Popen[bytes]:
    """Start a run in that folder, in which no file may have more than `limit` bytes."""
    command = [sys.executable, str(PROGRAM), *TINY, "logger=none", f"hydra.run.dir={run}", *more]
    process = subprocess.Popen(command, cwd=run.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if limit is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    return process


def saved(run: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the run has left two checkpoints."""
    while len(list((run / "checkpoints").glob("*.ckpt"))) < 2:
        assert process.poll() is None, "it ended too early"
        time.sleep(0.01)


def ended_by(number: signal.Signals, *again: str) -> Callable[[Path], Sequence[str]]:
    """Begin a run, end it with a signal, and return the arguments that go on with it."""

    def arguments(inputs: Path) -> Sequence[str]:
        run = run_of(inputs)
        process = begun(run)
        saved(run, process)
        process.send_signal(number)
        _, text = process.communicate()
        code = -number if number == signal.SIGKILL else 128 + number
        assert process.returncode == code, f"exit code {process.returncode}: {text.decode()[-200:]}"
        return [*TINY, *again] if again[:1] != ("resume",) else [f"resume={run}"]

    return arguments


def without_room(inputs: Path) -> Sequence[str]:
    """Let the disk be full when the first checkpoint is written, and go on where there is room again."""
    run = run_of(inputs)
    process = begun(run, limit=100_000)
    _, text = process.communicate()
    lines = [line for line in text.decode().splitlines() if line.startswith("pwfn: ")]
    assert process.returncode == 1, f"exit code {process.returncode}: {text.decode()[-200:]}"
    assert "Traceback" not in text.decode()
    assert any("File too large" in line for line in lines), lines
    assert not list(run.rglob("*.unfinished"))
    return [*TINY, "resume=auto"]


def beside_another(inputs: Path) -> Sequence[str]:
    """Leave a process running that writes the folder."""
    run = run_of(inputs)
    process = begun(run, "schedule.rest_epochs=2000")
    waiting.append(process)
    saved(run, process)
    return [*TINY, "resume=auto"]


def refused_beside_it(done: Done) -> str:
    """End the other process, and return the line."""
    process = waiting.pop()
    still = process.poll() is None
    process.kill()
    process.communicate()
    assert still, "the first writer was disturbed"
    return done.refused("is written by process")


def finished(words: str = "") -> Callable[[Done], str]:
    """Check that the run came to its end."""

    def outcome(done: Done) -> str:
        assert done.code == 0, done.line("pwfn")
        assert (done.run / "result.json").is_file()
        return done.line(words) if words else "the run is whole"

    return outcome


def twice(inputs: Path) -> Sequence[str]:
    """Finish a run, and give the same command again."""
    process = begun(run_of(inputs), *ONCE)
    process.communicate()
    assert process.returncode == 0
    return [*TINY, *ONCE, "resume=auto"]


def of_two_each(inputs: Path) -> Sequence[str]:
    """Make a sweep whose two jobs run at a time, of two processes each."""
    sweep = ("-m", "seed=0,1", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={inputs / 'sweep'}")
    return [*sweep, *TINY, *ONCE, "trainer=ddp_cpu", "pretrain.epochs=0"]


def two_processes_each(done: Done) -> str:
    """Count the processes of both jobs."""
    assert done.code == 0, done.line("pwfn")
    summaries = [json.loads(path.read_text()) for path in (done.inputs / "sweep").glob("*/summary.json")]
    assert [summary["run"]["processes"] for summary in summaries] == [2, 2]
    return "both jobs ran with two processes each"


def given(*more: str) -> Callable[[Path], Sequence[str]]:
    """Return the arguments of a small run."""
    return lambda _inputs: [*TINY, *ONCE, *more]


CASES = [
    Case(
        "two devices, and SLURM started one task",
        given("trainer=ddp_cpu"),
        lambda done: done.refused("SLURM started 1 task, trainer.devices is 2"),
        RANKS,
    ),
    Case(
        "one device, and torchrun started two processes",
        given(),
        lambda done: done.refused("torchrun started 2 processes, trainer.devices is 1"),
        {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "RANK": "0"},
    ),
    Case(
        "two devices, and jsrun started one task",
        given("trainer=ddp_cpu"),
        lambda done: done.refused("jsrun started 1 task, trainer.devices is 2"),
        {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "f", "JSM_NAMESPACE_LOCAL_RANK": "0", "JSM_NAMESPACE_SIZE": "1"},
    ),
    Case("two DDP jobs at a time within an allocation", of_two_each, two_processes_each, RANKS),
    Case(
        "kill -9, the same command again",
        ended_by(signal.SIGKILL),
        lambda done: done.refused("repeat the command that started it with resume=auto"),
    ),
    Case(
        "kill -9, the same command again with resume=auto",
        ended_by(signal.SIGKILL, "resume=auto"),
        finished("resumed after step"),
    ),
    Case("a finished run, the same command again", twice, finished("is finished, there is nothing to resume")),
    Case("SIGUSR2 of submitit", ended_by(signal.SIGUSR2, "resume"), finished("resumed after step")),
    Case("SIGHUP of a terminal that has gone", ended_by(signal.SIGHUP, "resume"), finished("resumed after step")),
    Case("a second writer of the folder", beside_another, refused_beside_it),
    Case("a full disk under a checkpoint, then room", without_room, finished()),
    Case(
        "a terminal of ASCII",
        given("name='läuft 图片'"),
        finished(),
        {"PYTHONIOENCODING": "ascii"},
    ),
]
