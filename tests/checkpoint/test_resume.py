"""A run that was broken off goes on as if nothing had happened: every bit of what it leaves is the same."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.checkpoint import files
from pwfn.config import build
from pwfn.errors import Stopped
from pwfn.monitoring.progress import RunProgress
from pwfn.records.files import CHECKPOINTS
from pwfn.run.rounds.round_loop import RoundLoop
from pwfn.run.settings import TrainSettings
from pwfn.run.start import Finished, run
from pwfn.training.module import BayesianClassifier
from pwfn.training.phase import TrainingDiverged
from tests.support.artifact.broken_off import Killed, killed
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.project import SMALL, Compose
from tests.support.runs import killed_runs
from tests.support.runs.killed_runs import differences

# augmented and mixed images, a schedule of the learning rate with momentum, two fits a round, validation in each epoch
OVERRIDES = [
    *SMALL,
    "data.train_size=96",
    "data.batch_size=16",
    "data/augment=crop_flip",
    "data/mix=mixup",
    "data.val_fraction=0.1",
    "pretrain.epochs=2",
    "schedule.training=alternate",
    "optimizer.lr_schedule=cosine",
    "checkpoint.every_steps=2",
    "trainer.accumulate_grad_batches=2",
]


Start = Callable[..., Finished]


@pytest.fixture(scope="module")
def start(composed: Compose) -> Start:
    """`start(folder)` begins a run in this process, `start(folder, resume=True)` goes on with it."""

    def begin(folder: Path, *overrides: str, resume: bool = False) -> Finished:
        cfg = composed(*OVERRIDES, *overrides)
        plain = OmegaConf.to_container(cfg, resolve=True)
        return run(build.load(TrainSettings, cfg), plain, folder, name="test", resume=resume)

    return begin


@pytest.fixture(scope="module")
def whole(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    start(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "count"),
    [
        (BayesianClassifier, "training_step", 1),  # before there is any checkpoint
        (BayesianClassifier, "training_step", 9),  # in the second epoch of the pretraining
        (BayesianClassifier, "training_step", 21),  # in the first round, while sigma is trained
        (BayesianClassifier, "on_validation_epoch_end", 4),
        (RoundLoop, "_cluster", 2),  # after the last round, before any of its files
        (files, "write", 5),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_broken_off_run_ends_with_the_same_bits(
    start: Start, whole: Path, tmp_path: Path, owner: Any, name: str, count: int
) -> None:
    folder = tmp_path / "run"
    with killed(owner, name, count), pytest.raises(Killed):
        start(folder)
    start(folder, resume=True)
    assert differences(whole, folder) == []
    assert not (folder / CHECKPOINTS).exists()


@pytest.mark.slow
def test_a_run_may_be_broken_off_again_and_again(start: Start, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for count, resume in ((3, False), (3, True), (5, True)):
        with killed(files, "write", count), pytest.raises(Killed):
            start(folder, resume=resume)
    start(folder, resume=True)
    assert differences(whole, folder) == []


@pytest.mark.slow
def test_sigkill_to_the_real_program(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kills, one of them of the resumed run."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # as here, or sums are rounded differently
    folder = tmp_path / "run"
    for resume in (False, True):
        before = files.files(folder)
        process = killed_runs.start(folder, OVERRIDES, resume=resume)
        while process.poll() is None and files.files(folder) == before:
            time.sleep(0.005)
        assert killed_runs.kill(process)
    killed_runs.finished(killed_runs.start(folder, OVERRIDES, resume=True), folder)
    assert differences(whole, folder) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "name", "count", "batches"),
    [
        (signal.SIGTERM, 143, "training_step", 10, 10),
        (signal.SIGINT, 130, "training_step", 3, 4),  # two batches make a step
        (signal.SIGUSR1, 138, "on_test_epoch_end", 2, None),  # the round's fits are done, its clustering is not
        (
            signal.SIGTERM,
            143,
            "zero_grad",
            1,
            None,
        ),  # while Lightning's own handlers are in place, before the first fit
    ],
)
def test_a_signal_ends_the_run_after_its_step_and_nothing_is_lost(
    start: Start, whole: Path, tmp_path: Path, number: int, code: int, name: str, count: int, batches: int | None
) -> None:
    folder = tmp_path / "run"
    before = signal.getsignal(number)
    signalled = killed(BayesianClassifier, name, count, by=lambda *_: os.kill(os.getpid(), number))
    with signalled, pytest.raises(Stopped) as stopped:
        start(folder, "checkpoint.every_steps=null")
    assert signal.getsignal(number) == before
    assert (stopped.value.exit_code, stopped.value.saved) == (code, True)
    assert stopped.value.preempted == (number != signal.SIGINT)
    content = files.newest(folder)
    assert content is not None
    assert (content["fit"] is None) == (batches is None)
    assert batches in (None, content["trainer"]["batches"])
    start(folder, resume=True)
    assert differences(whole, folder) == []


@pytest.mark.slow
def test_a_damaged_checkpoint_makes_way_for_the_one_before(
    start: Start, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with killed(files, "write", 6), pytest.raises(Killed):
        start(folder)
    before, newest = files.files(folder)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    start(folder, resume=True)
    assert f"{newest} is damaged" in (said := capsys.readouterr().err)
    assert f"going back to {before.name}" in said
    assert differences(whole, folder) == []


@pytest.mark.slow
def test_the_wandb_run_is_the_same_one(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "staged"))
    logger = ("logger=wandb", f"logger.save_dir={tmp_path}")
    with killed(RoundLoop, "_cluster", 2), pytest.raises(Killed):
        start(tmp_path / "run", *logger)
    start(tmp_path / "run", *logger, resume=True)
    first, second = find_runs(tmp_path)
    assert first.name == second.name
    assert first != second
    rounds = [item["round"] for item in read_run(second).history if "clustered/top1" in item]
    assert rounds == [0, 1]  # the piece that is uploaded last has everything


@pytest.mark.slow
def test_a_nan_stops_the_run_and_leaves_the_good_checkpoint(start: Start, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    poisoned: list[str] = []

    def poison(progress: RunProgress, trainer: Any, module: BayesianClassifier, *_: Any) -> None:
        tensor = quantized_tensors(module.network)[3]
        poisoned.append(tensor.name)
        with torch.no_grad():
            tensor.mu.view(-1)[0] = math.nan

    with killed(RunProgress, "on_train_batch_start", 10, by=poison), pytest.raises(TrainingDiverged) as error:
        start(folder)
    said = str(error.value)
    assert f"{poisoned[0]} is not finite" in said
    assert "in pretraining, step" in said
    assert "try a smaller pretrain.optimizer.lr" in said
    assert files.files(folder)[-1].name in said
    start(folder, resume=True)
    assert differences(whole, folder) == []
