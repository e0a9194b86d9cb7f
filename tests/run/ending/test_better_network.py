"""After the finishing the better of two networks is kept, by validation images; with a tie the later."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors, to_bayesian
from pwfn.checkpoint import saved_run
from pwfn.config import build
from pwfn.records import files
from pwfn.records.rounds import RoundRecord, Scores
from pwfn.run.ending.better_network import keep_better, unquantized_state
from pwfn.run.settings import TrainSettings
from pwfn.run.start import run
from pwfn.training.module import BayesianClassifier
from tests.support.artifact.broken_off import Killed, killed
from tests.support.project import SMALL, Compose
from tests.support.runs.killed_runs import differences


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    to_bayesian(made)
    return made


def record(round_index: int, top1: float) -> RoundRecord:
    blank: dict[str, Any] = dict.fromkeys(RoundRecord.__dataclass_fields__, 0)
    scores = Scores(top1, 100.0, 0.5)
    measured = {"trained": scores, "clustered": scores, "trained_val": None, "clustered_val": None}
    return RoundRecord(**blank | measured | {"order_share": (0.0,) * 5, "fraction": 1.0, "round": round_index})


def changed(made: nn.Module) -> dict[str, Tensor]:
    """Change everything that the finishing may change, and return it."""
    with torch.no_grad():
        for value in made[1].state_dict().values():  # type: ignore[index]
            value.add_(1)
    return unquantized_state(made)


@pytest.mark.parametrize(
    ("before", "after", "kept"), [(80.0, 75.5, "before"), (80.0, 80.0, "after"), (80.0, 81.0, "after")]
)
def test_the_network_that_is_right_about_more_validation_images_is_kept(before: float, after: float, kept: str) -> None:
    made = network()
    state = unquantized_state(made)
    quantized = [tensor.mu.clone() for tensor in quantized_tensors(made)]
    assert state.keys() == {f"1.{name}" for name in made[1].state_dict()}  # type: ignore[index]
    later = changed(made)
    last = replace(record(2, 70.0), clustered_val=Scores(before, 100.0, 0.9))
    finished = replace(record(3, 60.0), clustered_val=Scores(after, 100.0, 0.1))
    result, line = keep_better(made, state, last, finished)
    assert (
        line
        == f"finishing: the network {kept} it is kept; validation top1 {before:.2f} % before it, {after:.2f} % after it"
    )
    put_back = replace(finished, clustered=last.clustered, clustered_val=last.clustered_val)
    assert result == (finished if kept == "after" else put_back)
    expected = later if kept == "after" else state
    assert all(torch.equal(value, expected[name]) for name, value in unquantized_state(made).items())
    assert all(torch.equal(t.mu, old) for t, old in zip(quantized_tensors(made), quantized, strict=True))


def test_without_validation_images_the_later_is_kept_and_both_figures_are_said() -> None:
    made = network()
    state = unquantized_state(made)
    later = changed(made)
    finished = record(3, 75.56)
    result, line = keep_better(made, state, record(2, 80.0), finished)
    assert result is finished
    assert line == (
        "finishing: without validation images (data.val_fraction) the network after it is kept; "
        "test top1 80.00 % before it, 75.56 % after it"
    )
    assert all(torch.equal(value, later[name]) for name, value in unquantized_state(made).items())


WRECKED = [
    *SMALL,
    "finish=unquantised",
    "finish.epochs=1",
    "finish.optimizer.lr=1000",  # the finishing ruins the network
    "finish.optimizer.clip_norm=null",
    "data.val_fraction=0.25",
    "data.train_size=200",
    "pretrain.epochs=6",
    "pretrain.optimizer.lr=0.05",
    "schedule.fractions=[1.0]",
    "checkpoint.every_steps=1",
]


@pytest.mark.slow
def test_a_run_that_is_broken_off_in_its_finishing_keeps_the_same_network(composed: Compose, tmp_path: Path) -> None:
    cfg = composed(*WRECKED)
    config = OmegaConf.to_container(cfg, resolve=True)

    def start(folder: Path, resume: bool = False) -> list[RoundRecord]:
        run(build.load(TrainSettings, cfg), config, folder, name="test", resume=resume)
        return saved_run.finished_records(folder)

    last, finish = start(tmp_path / "whole")
    assert finish.trained.top1 < last.clustered.top1
    assert finish.clustered == last.clustered
    steps = last.steps + 2
    with ExitStack() as stack:
        stack.enter_context(killed(BayesianClassifier, "training_step", steps))
        stack.enter_context(pytest.raises(Killed))
        start(tmp_path / "broken")
    assert len(load_file(tmp_path / "broken" / files.NETWORK)) > 20
    start(tmp_path / "broken", resume=True)
    assert differences(tmp_path / "whole", tmp_path / "broken") == []
