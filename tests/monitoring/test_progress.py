"""Progress counts rounds, epochs and batches, in a terminal and in a log."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from torch.utils.data import DataLoader, TensorDataset

from pwfn.monitoring.live_view import LiveView
from pwfn.monitoring.progress import RunProgress
from tests.support.runs.round_records import BASELINE, record
from tests.support.terminal import screen


class Tiny(LightningModule):
    """Its loss is the number of the batch plus that of the epoch; the mean over epoch e is (1 + 2 + 3 + 6) / 4 + e."""

    def __init__(self, returns: Any = lambda loss: loss) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.returns = returns

    def training_step(self, batch: list[torch.Tensor], _: int) -> Any:
        return self.returns(batch[0].sum() + self.trainer.current_epoch + 0 * self.weight)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_trainer(tmp_path: Path, progress: RunProgress, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=0,
        logger=False,
        callbacks=[progress],
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        **options,
    )


def fit(trainer: Trainer, module: Tiny, epochs: int) -> None:
    data = DataLoader(TensorDataset(torch.tensor([1.0, 2.0, 3.0, 6.0])), batch_size=1)
    trainer.fit_loop.max_epochs = trainer.current_epoch + epochs
    trainer.fit(module, data)


def two_rounds(progress: RunProgress, tmp_path: Path) -> None:
    trainer, module = make_trainer(tmp_path, progress), Tiny()
    with progress:
        progress.start_run([1.0, 2.0])
        for n, epochs in enumerate((1, 2), start=1):
            progress.start_phase(f"round {n}/2", epochs, 1.0)
            fit(trainer, module, epochs)
            progress.status("clustering")
            progress.finish_round(f"round {n} done [bold]")


def plain(quiet: bool = False) -> tuple[RunProgress, io.StringIO]:
    out = io.StringIO()
    return RunProgress(Console(file=out, width=60), quiet=quiet), out


def test_without_a_terminal_there_is_one_line_an_epoch_over_both_fits(tmp_path: Path) -> None:
    progress, out = plain()
    two_rounds(progress, tmp_path)
    lines = [re.sub(r"\d+\.\d s$|\d+:\d+:\d+", "TIME", line) for line in out.getvalue().splitlines()]
    assert lines == [
        "round 1/2 epoch 1/1 loss 3.000 TIME",
        "round 1 done [bold], about TIME left",
        "round 2/2 epoch 1/2 loss 4.000 TIME",
        "round 2/2 epoch 2/2 loss 5.000 TIME",
        "round 2 done [bold]",
    ]


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    progress, out = plain(quiet=True)
    two_rounds(progress, tmp_path)
    assert out.getvalue() == ""


def test_other_ranks_print_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, out = plain()
    progress.finish_round("one")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with progress:
        progress.finish_round("two")
    assert out.getvalue() == "one\n"


@pytest.mark.parametrize(
    ("returns", "shown"), [(lambda loss: {"loss": loss}, " loss 3.000 "), (lambda _loss: None, "epoch 1/1 ")]
)
def test_the_loss_may_come_in_a_dict_or_not_at_all(tmp_path: Path, returns: Any, shown: str) -> None:
    progress, out = plain()
    progress.start_phase("pretraining", 1)
    fit(make_trainer(tmp_path, progress), Tiny(returns), 1)
    assert out.getvalue().startswith("pretraining epoch 1/1")
    assert shown in out.getvalue()
    assert ("loss" in out.getvalue()) == ("loss" in shown)


def terminal(**options: Any) -> tuple[RunProgress, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=110, force_terminal=True, color_system=None, _environ={}, **options)
    return RunProgress(console), out


def shown(progress: RunProgress) -> list[str]:
    assert progress._live is not None
    return screen(progress._live, width=110)


def test_in_a_terminal_both_bars_count_within_run_and_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress, out = terminal()
    monkeypatch.setattr("pwfn.monitoring.progress._LOSS_EVERY", 0.0)
    seen: list[tuple[str, float, float | None]] = []
    after_batch = progress.on_train_batch_end

    def spy(*args: Any) -> None:
        after_batch(*args)
        task = progress._live._bars.tasks[0]  # type: ignore[union-attr]
        seen.append((task.description, task.completed, task.total))

    monkeypatch.setattr(progress, "on_train_batch_end", spy)
    two_rounds(progress, tmp_path)
    assert seen[:4] == [("round 1/2 epoch 1/1", n, 4) for n in (1, 2, 3, 4)]
    assert seen[4:8] == [("round 2/2 epoch 1/2", n, 8) for n in (1, 2, 3, 4)]
    assert seen[8:] == [("round 2/2 epoch 2/2", n, 8) for n in (5, 6, 7, 8)]
    assert progress._live is None
    text = out.getvalue()
    assert "round 1 done [bold]" in text
    assert "round 2 done [bold]" in text
    assert " s\n" not in text  # the lines an epoch are for where there are no bars


def test_the_screen_tells_rounds_epochs_loss_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    progress, _ = terminal(get_time=lambda: now[0])
    monkeypatch.setattr("pwfn.monitoring.progress.time.monotonic", lambda: now[0])

    trainer: Any = SimpleNamespace(num_training_batches=10)
    with progress:
        progress.start_run([0.05, 2.0, 2.0, 2.0])
        now[0] += 1000  # pretraining, which is no measure for the rounds
        progress.start_phase("round 1/4", 1, 0.05)
        assert "rounds 0/4" in shown(progress)[1]
        assert "left" not in shown(progress)[1]
        now[0] += 10  # all of it beside training
        progress.finish_round("one")
        progress.results(BASELINE, [record(0)])
        assert "left" not in shown(progress)[1]
        assert "round 1: top1 98.17 %" in shown(progress)[2]
        progress.start_phase("round 2/4", 2, 1.0)
        now[0] += 50  # setting up is not counted for the phase, but for what a round takes beside its training
        progress.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        for batch in (0, 4):  # what is left of a phase is measured between two of them
            now[0] += max(1, batch)
            progress.on_train_batch_end(trainer, None, torch.tensor(0.1234), None, batch)  # type: ignore[arg-type]
        line, run = shown(progress)[:2]
        assert "round 2/4 epoch 1/2" in line
        assert "5/10 batches, loss 0.123, 0:00:15 left" in line
        # half an epoch took 5 seconds, 5.5 are ahead; three rounds of 10 seconds beside
        assert "rounds 1/4" in run
        assert "0:17:45 so far, about 0:01:25 left" in run
        now[0] += 5
        progress.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
        now[0] += 40
        progress.status("clustering")
        assert "clustering" in shown(progress)[0]
        assert "batches" not in shown(progress)[0]
        progress.finish_round("two")
        # 10 seconds an epoch, 4 ahead (the second one of round 2 is taken as trained); (10 + 90) / 2 a round beside
        assert "rounds 2/4" in shown(progress)[1]
        assert "about 0:02:20 left" in shown(progress)[1]


def test_an_endless_loader_has_no_time_left_but_still_counts_epochs() -> None:
    progress, out = plain()
    trainer: Any = SimpleNamespace(num_training_batches=float("inf"))
    progress.start_phase("round 1/1", 1)
    progress.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    progress.on_train_batch_end(trainer, None, torch.tensor(0.5), None, 0)  # type: ignore[arg-type]
    progress.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert out.getvalue().startswith("round 1/1 epoch 1/1 loss 0.500 ")


def test_the_live_display_ends_with_an_exception() -> None:
    progress, _ = terminal()
    seen: list[LiveView | None] = []

    def interrupted() -> None:
        with progress:
            seen.append(progress._live)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert progress._live is None
    assert seen[0] is not None
    assert not seen[0]._live.is_started


def test_a_resumed_phase_reckons_with_its_own_batches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed after 8 of 10 epochs and 2 of 10 batches; a batch takes 7 seconds."""
    now = [100.0]
    monkeypatch.setattr("pwfn.monitoring.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    progress, _ = terminal(get_time=lambda: now[0])
    trainer: Any = SimpleNamespace(max_epochs=10, current_epoch=8, num_training_batches=10)
    with progress:
        progress.start_phase("round 1/1", 10, 1.0)
        progress.on_train_start(trainer, Tiny())
        now[0] = 500.0  # what the trainer needed to set itself up is no measure
        progress.on_train_batch_start(trainer, Tiny(), None, 2)
        assert "2/10 batches" in shown(progress)[0]
        assert "left" not in shown(progress)[0]
        for batch in (2, 3):
            now[0] += 7
            progress.on_train_batch_end(trainer, Tiny(), torch.tensor(0.5), None, batch)
        # 16 of 100 batches are ahead
        assert "epoch 9/10" in shown(progress)[0]
        assert "4/10 batches, loss 0.500, 0:01:52 left" in shown(progress)[0]


def test_a_log_is_told_after_a_minute_of_silence_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now, out = [0.0], io.StringIO()
    monkeypatch.setattr("pwfn.monitoring.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    progress = RunProgress(Console(file=out, width=100))
    for second, text in [(0, "layer 1"), (59, "layer 2"), (60, "layer 3"), (119, "layer 4"), (121, "layer 5")]:
        now[0] = float(second)
        progress.status(text)
    now[0] = 170.0
    progress.say("a line")
    now[0] = 229.0
    progress.status("layer 6")
    assert out.getvalue().splitlines() == ["layer 3", "layer 5", "a line"]
