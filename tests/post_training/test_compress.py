"""`pwfn.compress` on an ordinary network, from loaders of all kinds."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pwfn
from pwfn.clustering import AdditivePow2, SecondOrder
from pwfn.post_training import BudgetNotMet
from tests.support.project import PROJECT

Data = tuple[Tensor, Tensor]
RULE = SecondOrder(images=200, passes=2)


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Data, Data]:
    """A network, images to calibrate with and others to test with."""
    torch.manual_seed(0)
    centers = torch.randn(5, 12)
    labels = torch.randint(0, 5, (900,))
    images = centers[labels] + torch.randn(900, 12)
    network = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.LayerNorm(32), nn.Linear(32, 5))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(network(images[:300]), labels[:300]).backward()
        optimizer.step()
    return network, (images[:300], labels[:300]), (images[300:], labels[300:])


def loader(data: Data) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*data), batch_size=50)


def test_five_lines_of_a_script(trained: tuple[nn.Module, Data, Data], tmp_path: Path) -> None:
    network, known, tested = trained
    before = copy.deepcopy(network.state_dict())
    said: list[str] = []
    model, receipt = pwfn.compress(
        network, loader(known), loader(tested), budget=pwfn.Budget(bits=3.0), rule=RULE, say=said.append
    )
    assert 2.0 < receipt.trial.bits <= 3.0
    assert said == [trial.line() for trial in receipt.tries]
    assert receipt.before is not None
    assert receipt.after is not None
    assert abs(receipt.before - receipt.after) < 3
    with torch.no_grad():
        right = (model(tested[0]).argmax(1) == tested[1]).double().mean()
    assert receipt.after == pytest.approx(100 * float(right))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    with pytest.warns(UserWarning, match="will not say how to build the model"):
        sizes = pwfn.save(tmp_path / "model.pwfn", model)
    assert sizes.file_bits == pytest.approx(receipt.trial.bits)
    loaded = pwfn.load(tmp_path / "model.pwfn", model=copy.deepcopy(network))
    assert torch.equal(loaded(tested[0]), model(tested[0]))
    assert f"{receipt.sizes.codebook} values shared by 581 weights" in str(receipt)


def test_the_lines_of_the_document_run(
    trained: tuple[nn.Module, Data, Data],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network, known, tested = trained
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/budget.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="will not say how to build"):  # the network is none of timm's
        exec(code, {"model": network, "calibration_loader": loader(known), "test_loader": loader(tested)})
    assert pwfn.describe("model.pwfn")["file"] <= 3e6
    assert " bits per weight in the file, " in capsys.readouterr().out


def test_accuracy_is_judged_on_validation_images(trained: tuple[nn.Module, Data, Data]) -> None:
    network, known, tested = trained
    held = (tested[0][:300], tested[1][:300])
    _, receipt = pwfn.compress(
        network,
        [known[0]],
        budget=pwfn.Budget(drop=2.0),
        validation_loader=loader(held),
        rule=RULE,
        codebook=AdditivePow2(6, 3),
        say=lambda line: None,
    )
    assert receipt.trial.drop is not None
    assert receipt.trial.drop <= 2.0
    assert any(trial.drop is not None and trial.drop > 2.0 for trial in receipt.tries)
    assert receipt.before is None
    with pytest.raises(ValueError, match=r"budget\.drop is judged on validation images: give validation_loader"):
        pwfn.compress(network, loader(known), budget=pwfn.Budget(drop=2.0), rule=RULE)


def test_a_rate_without_a_budget_is_used_as_it_is(trained: tuple[nn.Module, Data, Data]) -> None:
    network, known, _ = trained
    _, receipt = pwfn.compress(
        network, loader(known), rule=SecondOrder(rate=1e-4, images=100), exclude=("3.*",), say=lambda line: None
    )
    assert [trial.rate for trial in receipt.tries] == [1e-4]
    assert receipt.sizes.weights == 12 * 32 + 32


class Odd(nn.Module):
    """A quantized parameter that no linear map has."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.shift = nn.Linear(12, 3), nn.Parameter(torch.rand(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.shift


def test_what_no_linear_map_uses_is_named() -> None:
    torch.manual_seed(0)
    model, receipt = pwfn.compress(
        Odd(), [torch.randn(40, 12)], rule=SecondOrder(images=40), include=("shift",), say=lambda line: None
    )
    assert receipt.rounded == ("shift",)
    assert "shift" in str(receipt)
    assert isinstance(model, Odd)


@pytest.mark.parametrize(
    ("network", "batches", "options", "line"),
    [
        (nn.ReLU(), [torch.randn(4, 12)], {}, "no linear or convolution layer"),
        (
            nn.Linear(12, 3).requires_grad_(False).apply(lambda m: m.weight.fill_(float("nan"))),
            [torch.randn(4, 12)],
            {},
            "mu must be finite",
        ),
        (nn.Linear(12, 3), [], {}, "the calibration loader has no batch"),
        (nn.Linear(12, 3), ["images"], {}, "must be images, or begin with images; this one is a str"),
        (nn.Linear(12, 3), [torch.randn(1, 12)], {}, "from two images at least"),
        (nn.Linear(12, 3), [torch.randn(4, 12)], {"exclude": ("other.*",)}, ""),
    ],
    ids=["nothing", "not finite", "no batch", "text", "one image", "fine"],
)
def test_what_cannot_be_compressed(network: nn.Module, batches: Any, options: Any, line: str) -> None:
    if not line:
        pwfn.compress(network, batches, say=lambda line: None, **options)
        return
    with pytest.raises(ValueError, match=re.escape(line)):
        pwfn.compress(network, batches, **options)


def test_no_network_within_the_budget(trained: tuple[nn.Module, Data, Data]) -> None:
    network, known, _ = trained
    with pytest.raises(BudgetNotMet, match="no network meets the budget; the nearest is at rate"):
        pwfn.compress(
            network,
            loader(known),
            budget=pwfn.Budget(megabytes=1e-5),
            rule=SecondOrder(images=20),
            say=lambda line: None,
        )
