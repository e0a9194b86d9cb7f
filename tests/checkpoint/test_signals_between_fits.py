"""A signal is heeded within a batch also in tests, validations and clusterings, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.config import build
from pwfn.errors import Stopped
from pwfn.run import lightning_runner
from pwfn.run.rounds.unclustered import Unclustered
from pwfn.run.settings import TrainSettings
from pwfn.run.start import Finished, run
from pwfn.training.module import BayesianClassifier
from pwfn.training.signals import StopNow, StopRequest
from tests.support.artifact.broken_off import killed
from tests.support.project import SMALL, Compose
from tests.support.runs.killed_runs import differences

# three batches a test, validation in each epoch and at the end, statistics that are gathered anew
OVERRIDES = [
    *SMALL,
    "data.eval_batch_size=20",
    "data.val_fraction=0.4",
    "data/augment=crop_flip",
    "finish=unquantised",
    "finish.epochs=1",
    "finish.batchnorm_images=40",
    "data.batch_size=16",
]

Start = Callable[..., Finished]


@pytest.fixture(scope="module")
def start(composed: Compose) -> Start:
    def begin(folder: Path, *, resume: bool = False) -> Finished:
        cfg = composed(*OVERRIDES)
        plain = OmegaConf.to_container(cfg, resolve=True)
        return run(build.load(TrainSettings, cfg), plain, folder, name="test", resume=resume)

    return begin


@pytest.fixture(scope="module")
def whole(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    start(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "count"),
    [
        (BayesianClassifier, "test_step", 1),  # of the pretrained network
        (BayesianClassifier, "test_step", 5),  # in the first round, after its training
        (AdditivePow2, "fit", 2),  # in the clustering of the second round
        (BayesianClassifier, "test_step", 8),  # after the clustering of the first round
        (BayesianClassifier, "validation_step", 1),  # within a fit
        (BayesianClassifier, "test_step", 17),  # after the training of the finishing
        (lightning_runner, "reestimate", 1),  # the statistics: in the test after them
        (BayesianClassifier, "validation_step", 9),  # of the network before the finishing, to choose the better one
    ],
)
def test_the_run_ends_at_once_and_goes_on_with_the_same_bits(
    start: Start, whole: Path, tmp_path: Path, owner: Any, name: str, count: int
) -> None:
    folder = tmp_path / "run"
    called: list[int] = []
    step = BayesianClassifier.test_step

    def counted(self: BayesianClassifier, *batch: Any) -> None:
        if called:
            called.append(1)
        step(self, *batch)

    def send(*_: object) -> None:
        called.append(0)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BayesianClassifier, "test_step", counted)
        with killed(owner, name, count, by=send), pytest.raises(Stopped) as stopped:
            start(folder)
    assert stopped.value.saved
    assert len(called) <= 2  # no more than the next batch of a test
    start(folder, resume=True)
    assert differences(whole, folder) == []


def send_and_work(number: int) -> None:
    os.kill(os.getpid(), number)
    pytest.fail("that was not at once")


def test_a_signal_ends_what_may_be_ended_at_once_and_nothing_else() -> None:
    with StopRequest() as stop:
        with pytest.raises(StopNow) as stopped, stop.at_once():
            send_and_work(signal.SIGUSR2)
        assert stopped.value.number == stop.signal == signal.SIGUSR2
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGUSR2
        with pytest.raises(StopNow), stop.at_once():
            pytest.fail("it had come before")


def test_a_clustered_network_is_put_back_to_the_bit() -> None:
    from pwfn.bayesian.posterior import to_bayesian

    network = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5))
    to_bayesian(network)
    tensors = quantized_tensors(network)
    with torch.no_grad():
        tensors[0].gaussian.sigma[0, :3] = torch.tensor([1e-12, -1.0, 0.0])  # below what is sampled with
    before = {name: value.clone() for name, value in network.state_dict().items()}
    unclustered, streams = Unclustered.of(tensors, FlatWeights.of(tensors), network), torch.get_rng_state()
    with torch.no_grad():
        for tensor in tensors:
            for changed in (tensor.mu, tensor.gaussian.sigma, tensor.gaussian.assignment):
                changed.fill_(3)
            tensor.gaussian.retrain_sigma.fill_(True)
        network._apply(lambda tensor: tensor.clone())  # as a move to another device: it has other buffers then
        network[1].running_mean.fill_(3)  # type: ignore[operator,union-attr]
    torch.rand(5)
    unclustered.restore()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), streams)
