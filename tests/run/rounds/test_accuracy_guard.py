"""A round that costs more than a few points: what is said of it, and a run that ends there and goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from pwfn.checkpoint import files
from pwfn.config import build
from pwfn.errors import InvalidValueError, Stopped
from pwfn.records.rounds import RoundRecord, Scores, read_records
from pwfn.run.rounds.accuracy_guard import BEFORE, CLUSTERING, TRAINING, CostlyRound, Judged
from pwfn.run.settings import TrainSettings
from pwfn.run.start import Finished, run
from tests.support.project import SMALL, Compose
from tests.support.runs.killed_runs import differences

BASELINE = Scores(90.0, 99.0, 0.3)
SLOPE = [  # a network that can do something, of whose weights nearly all become zero, because no other value is near
    "data.train_size=160",
    "pretrain.epochs=6",
    "pretrain.optimizer.lr=0.05",
    "schedule.fractions=[0.95,0.99,1.0]",
    "codebook.b=1",
]


def records(*top1: tuple[float, float]) -> list[RoundRecord]:
    """One for each pair of trained and clustered top1."""
    blank: dict[str, Any] = dict.fromkeys((field for field in RoundRecord.__dataclass_fields__), 0)
    blank |= {"order_share": (0.0,) * 5, "fraction": 0.5, "trained": BASELINE, "clustered": BASELINE}
    blank |= {"trained_val": None, "clustered_val": None}
    first = RoundRecord(**blank)
    return [
        replace(first, round=i, trained=replace(BASELINE, top1=t), clustered=replace(BASELINE, top1=c))
        for i, (t, c) in enumerate(top1)
    ]


def complaint(against: Literal["previous", "pretrained"], points: float | None, *top1: tuple[float, float]) -> str:
    return CostlyRound(points, against, stop=False).complaint(records(*top1), Judged(BASELINE)) or ""


def test_the_first_round_is_held_against_the_pretrained_network_later_ones_against_the_one_before() -> None:
    assert "round 1 ended 4.00 points below the pretrained network" in complaint("previous", 3.0, (90, 86))
    said = complaint("previous", 3.0, (90, 86), (88, 82.5))
    assert "round 2 ended 3.50 points below the round before (test top1 86.00 % there, 88.00 % trained, 82.50 %" in said
    assert complaint("previous", 3.0, (90, 86), (88, 84)) == ""
    assert "round 2 ended 6.00 points below the pretrained network" in complaint("pretrained", 3.0, (90, 86), (88, 84))


@pytest.mark.parametrize("against", ["previous", "pretrained"])
def test_the_threshold_itself_is_not_too_much_and_null_is_never(against: Literal["previous", "pretrained"]) -> None:
    assert complaint(against, 4.0, (90, 86)) == ""
    assert complaint(against, 3.9, (90, 86)) != ""
    assert complaint(against, 0.0, (90, 90)) == complaint(against, 0.0, (90, 95)) == ""
    assert complaint(against, None, (1, 0)) == ""


def test_few_test_images_ask_for_a_larger_loss() -> None:
    guard = CostlyRound(3.0, "pretrained", stop=False)  # 90 % of 90 images: 82.1 to 94.6 %, of 10,000: 89.4 to 90.6 %
    assert guard.complaint(records((90, 83)), Judged(BASELINE, 90)) is None
    assert guard.complaint(records((90, 88)), Judged(BASELINE, 10_000)) is None
    told = guard.complaint(records((90, 82)), Judged(BASELINE, 90)) or ""
    assert "(test top1 90.00 % (95 % interval 82.1 to 94.6 %, 90 test images) there, 90.00 % trained, 82.00 %" in told
    assert "round 1 ended 7.00 points" in (guard.complaint(records((90, 83)), Judged(BASELINE, 10_000)) or "")


def test_validation_images_judge_where_there_are_some() -> None:
    (last,) = records((90, 89))
    last = replace(last, trained_val=replace(BASELINE, top1=84.0), clustered_val=replace(BASELINE, top1=83.0))
    by = Judged(replace(BASELINE, top1=88.0), 10_000, "validation")
    guard = CostlyRound(3.0, "pretrained", stop=False)
    said = guard.complaint([last], by) or ""
    assert "round 1 ended 5.00 points below the pretrained network (validation top1 88.00 %" in said
    assert "10,000 validation images) there, 84.00 % trained, 83.00 % clustered)" in said
    assert said.endswith(TRAINING)
    assert guard.complaint([last], Judged(BASELINE, 10_000)) is None  # by the test images nothing was lost


def test_what_was_lost_while_training_may_be_the_augmentation_s_doing() -> None:
    assert TRAINING.endswith("or a milder data/augment (crop_flip, none)")


def test_it_is_said_where_the_points_were_lost() -> None:
    assert complaint("previous", 3.0, (89, 80)).endswith(CLUSTERING)
    assert complaint("previous", 3.0, (81, 80)).endswith(TRAINING)
    assert "\n" not in complaint("previous", 3.0, (81, 80))
    slope = ((88, 84), (84, 83.5))
    assert complaint("pretrained", 3.0, *slope).endswith(BEFORE)
    assert complaint("previous", 3.0, *slope) == ""
    finished = [replace(one, fraction=1.0) for one in records((90, 88), (89.5, 80))]
    said = CostlyRound(3.0, "previous", stop=False).complaint(finished, Judged(BASELINE))
    assert said is not None
    assert said.startswith("the finishing ended 8.00")
    assert said.endswith("finish.batchnorm_images")


def test_values_out_of_range_are_refused() -> None:
    for points in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidValueError, match=r"points = .*: must be a number from 0"):
            CostlyRound(points, "previous", stop=False)
    with pytest.raises(InvalidValueError, match="stop = True: must be false where points is null"):
        CostlyRound(None, "previous", stop=True)


@pytest.fixture(scope="module")
def start(composed: Compose) -> Callable[..., Finished]:
    def begin(folder: Path, *overrides: str, resume: bool = False) -> Finished:
        cfg = composed(*SMALL, *SLOPE, *overrides)
        settings = build.load(TrainSettings, cfg)
        return run(settings, OmegaConf.to_container(cfg, resolve=True), folder, name="test", resume=resume)

    return begin


@pytest.mark.slow
def test_a_run_stops_after_a_costly_round_and_goes_on_as_if_it_had_not(
    start: Callable[..., Finished], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    costly = ("costly_round.points=1", "costly_round.against=pretrained")
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    start(whole, *costly)
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("warning: round") for line in said) == 3  # quiet or not
    with pytest.raises(Stopped, match=r"stopped by costly_round\.stop, as round 1 ended .* points below") as stopped:
        start(folder, *costly, "costly_round.stop=true")
    assert stopped.value.exit_code == 1
    assert stopped.value.saved
    assert not stopped.value.preempted
    assert read_records(folder)[0].clustered == read_records(whole)[0].clustered
    assert len(read_records(folder)) == 1
    assert files.files(folder)
    capsys.readouterr()
    with pytest.raises(Stopped, match="round 2 ended"):
        start(folder, *costly, "costly_round.stop=true", resume=True)
    start(folder, *costly, "costly_round.stop=true", resume=True)  # the last round has nothing left to save
    assert "warning: round 3 ended" in capsys.readouterr().out
    assert differences(whole, folder) == []
