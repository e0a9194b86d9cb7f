"""After the last clustering: only what is not quantized changes, and a run that is broken off there goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn

from pwfn.bayesian.posterior import to_bayesian
from pwfn.checkpoint import saved_run
from pwfn.config import build
from pwfn.errors import RunError
from pwfn.records import files
from pwfn.records.rounds import is_finishing, last_clustering
from pwfn.run.ending.finishing import Finishing
from pwfn.run.lightning_runner import LightningRunner
from pwfn.run.rounds.round_loop import RoundLoop
from pwfn.run.settings import TrainSettings
from pwfn.run.start import Finished, run
from pwfn.training.module import BayesianClassifier
from pwfn.training.optimizer import SGD
from tests.support.artifact.broken_off import Killed, killed
from tests.support.evaluation import measured
from tests.support.project import SMALL, Compose
from tests.support.runs.killed_runs import differences
from tests.support.runs.run_files import read_clusters

OVERRIDES = [
    *SMALL,
    "data.train_size=96",
    "data.batch_size=16",
    "data/augment=crop_flip",
    "tolerance=fisher",
    "tolerance.batches=2",
    "distillation=pretrained",
    "finish=unquantised",
    "finish.batchnorm_images=40",
    "checkpoint.every_steps=4",
]
QUANTISED = ("parametrizations", "sigma", "assignment", "retrain")
Start = Callable[..., Finished]


@pytest.fixture(scope="module")
def start(composed: Compose) -> Start:
    def begin(folder: Path, *overrides: str, resume: bool = False) -> Finished:
        cfg = composed(*OVERRIDES, *overrides)
        adamw = {"_target_": "pwfn.training.AdamW", "lr": 0.05, "weight_decay": 0.1, "clip_norm": 1.0}
        OmegaConf.update(cfg, "finish.optimizer", adamw, merge=False)
        plain = OmegaConf.to_container(cfg, resolve=True)
        return run(build.load(TrainSettings, cfg), plain, folder, name="test", resume=resume)

    return begin


@pytest.fixture(scope="module")
def whole(start: Start, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A run, and its network as it was after the last clustering."""
    folder = tmp_path_factory.mktemp("whole")
    before: dict[str, Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        plain = RoundLoop.train_finish

        def watched(loop: RoundLoop, *args: Any) -> Any:
            before.update({name: value.clone() for name, value in loop.network.state_dict().items()})
            return plain(loop, *args)

        patch.setattr(RoundLoop, "train_finish", watched)
        start(folder)
    return folder, before


@pytest.mark.slow
def test_no_quantized_weight_changes_by_one_bit_and_the_rest_does(whole: tuple[Path, dict[str, Tensor]]) -> None:
    folder, before = whole
    after = load_file(folder / files.NETWORK)
    quantized = {name for name in after if any(part in name for part in QUANTISED)}
    assert len(quantized) > 20
    assert all(torch.equal(before[name], after[name]) for name in quantized)
    rest = {name for name in after.keys() - quantized if after[name].is_floating_point()}
    assert any(name.endswith("running_var") for name in rest)
    assert any("bn1.weight" in name for name in rest)
    assert all(not torch.equal(before[name], after[name]) for name in rest)


@pytest.mark.slow
def test_it_is_one_record_more_that_says_the_same_of_the_weights(whole: tuple[Path, dict[str, Tensor]]) -> None:
    folder, _ = whole
    first, last, finish = saved_run.finished_records(folder)
    assert last_clustering([first, last, finish]) is last
    assert not is_finishing([first, last])
    assert is_finishing([first, last, finish])
    assert not is_finishing([first])
    assert not is_finishing([])
    assert (finish.round, finish.fraction, finish.moved, finish.cluster_seconds) == (2, 1.0, 0, 0.0)
    assert finish.epochs == last.epochs + 2
    assert finish.steps == last.steps + 2 * 6
    same = ("codebook_size", "unique_weights", "entropy_bits", "threshold", "order_share", "sigma_mean")
    assert all(getattr(finish, name) == getattr(last, name) for name in same)
    assert finish.trained != finish.clustered  # the statistics
    assert {row["round"] for row in read_clusters(folder)} == {0, 1}


@pytest.mark.slow
def test_an_evaluation_finds_every_network_of_it_again(whole: tuple[Path, dict[str, Tensor]]) -> None:
    folder, _ = whole
    _, last, finish = saved_run.finished_records(folder)
    at_mean = measured(run=str(folder)).at_mean
    assert at_mean["trained"] == last.trained
    assert at_mean["clustered"] == finish.clustered


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "count"),
    [
        (LightningRunner, "squared_gradients", 2),  # the second round, with a teacher that has to be read again
        (BayesianClassifier, "training_step", 25),  # in the finishing
        (RoundLoop, "measure_finish", 1),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_broken_off_run_ends_with_the_same_bits(
    start: Start, whole: tuple[Path, dict[str, Tensor]], tmp_path: Path, owner: Any, name: str, count: int
) -> None:
    folder = tmp_path / "run"
    with ExitStack() as stack:
        stack.enter_context(killed(owner, name, count))
        stack.enter_context(pytest.raises(Killed))
        start(folder)
    start(folder, resume=True)
    assert differences(whole[0], folder) == []


@pytest.mark.slow
def test_without_the_teacher_s_file_a_run_does_not_go_on_without_it(start: Start, tmp_path: Path) -> None:
    with killed(RoundLoop, "_cluster", 1), pytest.raises(Killed):
        start(tmp_path / "run")
    (tmp_path / "run" / files.PRETRAINED).unlink()
    with pytest.raises(RunError, match=r"pretrained\.safetensors, which teaches, cannot be read"):
        start(tmp_path / "run", resume=True)


def bayesian(*layers: nn.Module) -> nn.Module:
    network = nn.Sequential(*layers)
    to_bayesian(network)
    return network


def test_what_a_network_has_no_part_for_is_refused() -> None:
    linear = bayesian(nn.Linear(3, 2))
    with pytest.raises(RunError, match=r"finish\.epochs = 2: must be 0, because every parameter"):
        Finishing(2, 0, SGD()).check(linear)
    with pytest.raises(RunError, match=r"finish\.batchnorm_images = 9: must be 0, because this model has no BatchNorm"):
        Finishing(0, 9, SGD()).check(bayesian(nn.Linear(3, 2), nn.LayerNorm(2)))
    Finishing(0, 0, SGD()).check(linear)
    Finishing(2, 9, SGD()).check(bayesian(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    with pytest.raises(ValueError, match=r"epochs = -1.*batchnorm_images = -1"):
        Finishing(-1, -1, SGD())
