"""How much work a run is said to be: the plan of a sweep against what runs have done."""

from __future__ import annotations

import pytest

from pwfn.config import build
from pwfn.run.settings import TrainSettings
from pwfn.run.workload import Workload, of_config, workload
from tests.support.project import SMALL, Compose


def work(composed: Compose, *overrides: str) -> Workload | None:
    return workload(build.load(TrainSettings, composed(*overrides)))


@pytest.mark.slow
def test_a_run_makes_as_many_steps_as_was_said(composed: Compose, small_run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    overrides = (
        "data.batch_size=16",
        "data.train_size=66",  # a last batch of two in full epochs
        "data.val_fraction=0.02",  # and of one, which is left out, without this image
        "schedule.first_share=0.3",
        "schedule.training=alternate",
        "trainer.accumulate_grad_batches=2",
        "finish.epochs=1",
    )
    said = work(composed, *SMALL, *overrides)
    done = small_run(tmp_path, *overrides).records
    assert said is not None
    assert (said.rounds + 1, said.steps) == (len(done), done[-1].steps)  # the finishing is one more record


def test_by_hand(composed: Compose) -> None:
    # 1438 images less a tenth, in batches of 64: 21 steps; 5 pretraining epochs, ten rounds of one
    digits = ("pretrain.epochs=5", "data=digits", "data.batch_size=64", "schedule=short")
    assert work(composed, *digits) == Workload(10, 15.0, 15 * 21)
    assert work(composed, *digits, "data.train_images=72") == Workload(10, 15.0, 15)  # of 65 one is left out
    assert work(composed, *digits, "trainer=ddp_cpu") == Workload(10, 15.0, 15 * 11)  # two ranks
    assert work(composed, *digits, "schedule=paper") == Workload(10, 5 + 0.05 + 27, 5 * 21 + 1 + 27 * 21)


def test_what_is_not_known_is_not_said(composed: Compose, tmp_path) -> None:  # type: ignore[no-untyped-def]
    found = work(composed, "experiment=paper_resnet18", "trainer=cpu", f"data.root={tmp_path}")
    assert found is not None
    assert found.steps is None
    assert found.rounds == 10
    assert work(composed, "dry_run=true") is None
    assert work(composed, "inspect=true") is None
    assert of_config(composed(name="evaluate")) is None
