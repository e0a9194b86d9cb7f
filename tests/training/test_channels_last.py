"""`trainer.channels_last`: another layout of network and images, the same numbers to rounding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pwfn
from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior
from pwfn.bayesian.regularizer import LinearRegularizer
from pwfn.run.start import Finished
from pwfn.training.module import BayesianClassifier
from pwfn.training.optimizer import SGD
from pwfn.training.phase import Phase
from tests.support.runs.toy_fits import trainer


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1)
    made = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3))
    to_bayesian(made)
    set_sigma(made, ConstantPrior(1e-2))
    return made


def is_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.filterwarnings("ignore")
def test_a_fit_ends_with_the_same_numbers(tmp_path: Path) -> None:
    numbers = torch.Generator().manual_seed(0)
    images, labels = torch.randn(24, 3, 6, 6, generator=numbers), torch.randint(3, (24,), generator=numbers)
    ends, layouts = [], []
    for channels_last in (False, True):
        made = network()
        module = BayesianClassifier(made, LinearRegularizer(0.1), channels_last=channels_last)
        seen = list[bool]()
        made[3].register_forward_hook(lambda _, given, out, seen=seen: seen.extend(map(is_last, (given[0], out))))
        module.begin(Phase("phase", 2, SGD(lr=0.1)))
        fits = trainer(tmp_path)
        fits.fit_loop.max_epochs = 2
        torch.manual_seed(5)
        loader = DataLoader(TensorDataset(images, labels), batch_size=8)
        fits.fit(module, loader)
        fits.test(module, loader, verbose=False)
        assert module.scores is not None
        ends.append([*module.state_dict().values(), torch.tensor(module.scores.loss)])
        layouts.append(seen)
        assert all(is_last(tensor.mu) == channels_last for tensor in quantized_tensors(made) if tensor.mu.dim() == 4)
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)
    moved = [not torch.equal(*pair) for pair in zip(ends[0], network().state_dict().values(), strict=False)]
    assert any(moved)
    assert all(layouts[1])
    assert not any(layouts[0])


@pytest.mark.slow
def test_a_whole_run_ends_with_the_weights_of_one_in_the_usual_layout(
    small_run: Callable[..., Finished], tmp_path: Path
) -> None:
    folders = [tmp_path / "usual", tmp_path / "last"]
    for folder, value in zip(folders, ("false", "true"), strict=True):
        small_run(folder, f"trainer.channels_last={value}")
    usual, last = (load_file(folder / "network.safetensors") for folder in folders)
    assert list(usual) == list(last)
    pairs = [(usual[name], last[name]) for name in usual if name.endswith("assignment")]
    other = sum(int((one != two).sum()) for one, two in pairs)
    assert other < 0.01 * sum(one.numel() for one, _ in pairs)  # a rounding decides between two neighbors
    losses = [[row["trained/loss"] for row in json.loads((folder / "rounds.json").read_text())] for folder in folders]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    artifact = dict(pwfn.load(folders[1] / "model.pwfn").named_parameters())
    name = next(name for name, value in last.items() if name.endswith(".original") and value.dim() == 4)
    assert torch.equal(artifact[name.replace("parametrizations.", "").removesuffix(".original")], last[name])
