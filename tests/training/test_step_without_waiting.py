"""A step as on a GPU: no number is read back from the device, few operations, and a bad loss is noticed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from pwfn.bayesian.kernels.choice import KERNELS
from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior
from pwfn.bayesian.regularizer import ExponentialRegularizer, LinearOnGradRegularizer, LinearRegularizer, Regularizer
from pwfn.checkpoint import files
from pwfn.checkpoint.callback import Saver
from pwfn.checkpoint.run_state import RunState
from pwfn.checkpoint.spec import CheckpointSpec
from pwfn.training.loss_watch import LossWatch
from pwfn.training.module import BayesianClassifier
from pwfn.training.optimizer import SGD, Adam, AdamW, OptimizerSpec, before_step, build_optimizer
from pwfn.training.phase import Phase, TrainingDiverged
from pwfn.training.signals import StopRequest
from tests.support.kernels import launching_only
from tests.support.project import PROJECT, clean_environment

READS = {  # what makes the host wait for a GPU: a number or a shape comes from the device
    "_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique_dim", "_unique2", "bincount",
    "_assert_async", "histc",
}  # fmt: skip


class NothingReadBack(TorchDispatchMode):
    """Refuses operations that read from the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name in READS or any(i is not None and i.dtype == torch.bool for i in indices):
            raise AssertionError(f"{name} makes the host wait")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the decisions of a GPU, with the kernels in torch's operations."""
    for name in ("optimizer", "loss_watch"):
        monkeypatch.setattr(f"pwfn.training.{name}.is_free_to_read", lambda _: False)
    monkeypatch.setattr("pwfn.bayesian.kernels.choice._chosen", "reference")
    monkeypatch.setattr("pwfn.bayesian.posterior.fresh_key", lambda: 5)  # a number of the CPU's generator


def bayesian(fixed: float) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    to_bayesian(network)
    set_sigma(network, ConstantPrior(1e-3))
    for tensor in quantized_tensors(network):
        tensor.gaussian.assignment.masked_fill_(torch.rand(tensor.mu.shape) < fixed, 0)
    return network


@pytest.mark.parametrize("fixed", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("spec", [SGD(clip_norm=0.1), Adam(), AdamW(clip_norm=None)], ids=["sgd", "adam", "adamw"])
@pytest.mark.parametrize("rule", [LinearRegularizer(), ExponentialRegularizer(), LinearOnGradRegularizer()])
@pytest.mark.parametrize("kernels", ["reference", "triton_cuda"])
@pytest.mark.usefixtures("on_gpu")
def test_a_step_reads_nothing_back(
    kernels: str, fixed: float, spec: OptimizerSpec, rule: Regularizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels == "triton_cuda":
        pytest.importorskip("triton")
        monkeypatch.setitem(KERNELS, kernels, launching_only)
        monkeypatch.setattr("pwfn.bayesian.kernels.choice._chosen", kernels)
    network = bayesian(fixed)
    module = BayesianClassifier(network, rule, loss_watch=LossWatch(100))
    module.begin(Phase("phase", 1, spec))
    monkeypatch.setattr(module, "log_dict", lambda _: None)  # there is no trainer
    optimizer = build_optimizer(network, spec)
    batch = torch.randn(8, 1, 5, 5), torch.randint(3, (8,))

    def step() -> None:
        optimizer.zero_grad()
        module.training_step(batch, 0)["loss"].backward()
        before_step(network, spec, optimizer)
        optimizer.step()

    step()  # the masks are read when the assignments have changed
    with NothingReadBack():
        step()


@pytest.mark.parametrize("read", [lambda x: x.item(), lambda x: bool(x > 0), lambda x: x[x > 0], torch.nonzero])
def test_the_mode_notices_what_waits(read: Callable[[Tensor], Any]) -> None:
    with pytest.raises(AssertionError, match="makes the host wait"), NothingReadBack():
        read(torch.tensor(1.0))


@pytest.mark.parametrize("clip_norm", [0.01, 0.7, 1e6])
@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_steps_that_wait_for_nothing_are_the_same(
    kind: type[OptimizerSpec], clip_norm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    for free_to_read in (True, False):
        monkeypatch.setattr("pwfn.training.optimizer.is_free_to_read", lambda _, free=free_to_read: free)
        network, spec = bayesian(0.5), kind(lr=0.1, weight_decay=0.2, clip_norm=clip_norm)
        optimizer = build_optimizer(network, spec)
        for _ in range(3):
            for parameter in network.parameters():
                parameter.grad = parameter.detach().cos()
            before_step(network, spec, optimizer)
            optimizer.step()
        ends.append([parameter.detach() for parameter in network.parameters()])
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_a_step_dispatches_hardly_more_than_an_ordinary_one(tmp_path: Path) -> None:
    """deit_tiny, ResNet-50 and DenseNet-161, from nothing to everything fixed: the benchmark's limit is 1.10."""
    pytest.importorskip("triton")
    counted = tmp_path / "counted.json"
    done = subprocess.run(
        [sys.executable, "benchmarks/operations.py", "--json", str(counted)],
        capture_output=True, text=True, cwd=PROJECT, check=False, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(counted.read_text())
    assert len(rows) == 3
    for row in rows:
        assert row["ordinary"]["work"] > 300
        assert row["ordinary"]["launches"] == 0
        for counts in row["bayesian"].values():
            assert counts["launches"] >= 3
            assert row["ordinary"]["work"] < counts["work"] <= 1.10 * row["ordinary"]["work"]


class Poison(Callback):
    """Makes the images of one batch NaN."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            batch[0].fill_(math.nan)


def fit(folder: Path, watch: LossWatch, *callbacks: Callback) -> Trainer:
    module = BayesianClassifier(bayesian(0.0), LinearRegularizer(), loss_watch=watch)
    module.begin(Phase("phase", 1, SGD(clip_norm=None), lr_key="some.lr"))
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        callbacks=list(callbacks), enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    for callback in callbacks:
        if isinstance(callback, Saver):
            callback.network = module.network
            callback.attach(trainer)
    images = TensorDataset(torch.randn(40, 1, 5, 5), torch.randint(3, (40,)))
    trainer.fit(module, DataLoader(images, batch_size=2))
    return trainer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("every", "bad", "later"), [(4, 6, 1), (4, 7, 0), (4, 4, 3), (100, 3, 16)], ids=["within", "last", "first", "epoch"]
)
def test_a_bad_loss_is_noticed_later_with_the_step_it_came_in(
    on_gpu: None, every: int, bad: int, later: int, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDiverged) as error:
        fit(tmp_path, LossWatch(every), Poison(bad))
    message = str(error.value)
    assert message.startswith(f"the loss is nan in phase, step {bad} (cross entropy nan, regularizer ")
    assert message.endswith(f"noticed {later} steps later; detect=immediate names the layer; try a smaller some.lr")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("gpu", [False, True])
def test_a_bad_loss_is_noticed_at_once_on_a_cpu_and_where_wanted(
    gpu: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if gpu:
        request.getfixturevalue("on_gpu")
    with pytest.raises(TrainingDiverged, match=r"step 6 \(.*\): the images of the batch are not finite; try"):
        fit(tmp_path, LossWatch(1 if gpu else 100), Poison(6))


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_saved_after_a_bad_loss(on_gpu: None, tmp_path: Path) -> None:
    """A checkpoint is due at step 5 and at step 10; the loss of step 7 would be read after the epoch."""
    watch = LossWatch(100)
    saver = Saver(tmp_path, CheckpointSpec(None, 5, 2), 0, RunState(), nn.Module(), StopRequest(), loss_watch=watch)
    with pytest.raises(TrainingDiverged, match=r"step 7 \(.*\): noticed 2 steps later"):
        fit(tmp_path, watch, saver, Poison(7))
    assert len(files.files(tmp_path)) == 1
