"""The demo in C classifies digits by shifts and adds alone: the network's classes, and the operations of the bill."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import pwfn
from pwfn.artifact.plain_form import PlainForm
from pwfn.bayesian.posterior import to_bayesian
from pwfn.data.datasets.digits import Digits
from pwfn.evaluation.analyses.shift_add.cost import count_operations
from tests.support.artifact.c_reader import SANITIZED, compiled, run

MEAN, STD = 0.449, 0.226
RECIPE: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (16, 24, 32, 48)}


def pixels(images: NDArray[np.uint8], side: int) -> Tensor:
    """8-bit images [n, 1, side, side]."""
    small = torch.from_numpy(images).unsqueeze(1).float()
    return nn.functional.interpolate(small, size=(side, side), mode="bilinear").round().to(torch.uint8)


def normalized(images: Tensor) -> Tensor:
    return (images.float() / 255 - MEAN) / STD


@pytest.fixture(scope="module")
def test_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    test = Digits().load().test
    return test.pixels, test.labels


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A small ResNet after three epochs on the digits, its weights rounded to multiples of 1/128."""
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=10, in_chans=1, **RECIPE)
    train = Digits().load().train
    images, labels = normalized(pixels(train.pixels, 32)), torch.from_numpy(train.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(3):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                for parameter in module.parameters():
                    parameter.copy_((parameter.clamp(-1, 1) * 128).round() / 128)
    return model.eval()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("demo"), "shift_add.c", flags=SANITIZED)


def saved(
    network: nn.Module, path: Path, side: int, in_chans: int = 1, plain: PlainForm = "exact", **recipe: Any
) -> Path:
    data = {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center"}
    data |= {"input_size": (in_chans, side, side), "mean": (MEAN,) * in_chans, "std": (STD,) * in_chans}
    pwfn.save(path, network, args=recipe, data=data, plain=plain)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "count", "plain"),
    [(32, 359, "exact"), (40, 40, "exact"), (32, 40, "folded_float16")],
    ids=["all of them", "a final map of 2 x 2", "norms in float16"],
)
def test_same_classes_and_the_operations_of_the_bill(
    network: nn.Module, demo: Path, test_images: Any, side: int, count: int, plain: PlainForm, tmp_path: Path
) -> None:
    images, labels = pixels(test_images[0][:count], side), torch.from_numpy(test_images[1][:count])
    images.numpy().tofile(tmp_path / "images.raw")
    model = pwfn.load(saved(network, tmp_path / "model.pwfn", side, plain=plain, **RECIPE))
    with torch.no_grad():
        wanted = model(normalized(images))
    if side == 32:
        assert (wanted.argmax(1) == labels).float().mean() > 0.9
    found = json.loads(run(demo, tmp_path / "model.pwfn", tmp_path / "images.raw"))
    torch.testing.assert_close(torch.tensor(found["logits"]), wanted, rtol=1e-3, atol=2e-3)
    assert found["classes"] == wanted.argmax(1).tolist()
    to_bayesian(model)
    total = count_operations(model, normalized(images[:1])).total.flat()
    keys = ["macs", "skipped", "one", "two", "three", "four", "shifts", "adds", "accumulations"]
    executed = found["per_image"]
    assert {key: executed[key] for key in keys} == {key: total[key] for key in keys}
    assert total["left"] == 0
    assert executed["batchnorm_multiplications"] < executed["macs"] / 50
    assert (executed["divisions"] > 0) == (side == 40)


def refusal(demo: Path, path: Path, images: Path) -> str:
    done = subprocess.run([demo, path, images], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def changed(values: list[float]) -> nn.Module:
    model = timm.create_model("resnet18", num_classes=10, in_chans=1, **RECIPE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or name == "fc.bias":
                parameter.copy_(torch.tensor(values)[torch.arange(parameter.numel()) % len(values)].view_as(parameter))
    return model


def _with_bias_of_three(model: nn.Module) -> None:
    model.fc.bias = nn.Parameter(torch.tensor([0.25, -0.375, 0.25]))


UNFIT: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "bias of another size": (_with_bias_of_three, "fc does not fit"),
    "negative variance": (lambda model: model.bn1.running_var.fill_(-1), "bn1 scales or shifts by more"),
    "mean that is no number": (
        lambda model: model.bn1.running_mean.fill_(float("nan")),
        "bn1 scales or shifts by more",
    ),
    "huge factor": (lambda model: model.bn1.weight.data.fill_(1e37), "bn1 scales or shifts by more"),
    "huge offset": (lambda model: model.bn1.bias.data.fill_(1e37), "bn1 scales or shifts by more"),
}


@pytest.mark.filterwarnings("ignore:the artifact will not say")
@pytest.mark.parametrize(("change", "wanted"), UNFIT.values(), ids=UNFIT.keys())
def test_what_no_fixed_point_can_hold_is_refused(
    demo: Path, change: Callable[[nn.Module], Any], wanted: str, tmp_path: Path
) -> None:
    model = changed([0.25, -0.375])
    change(model)
    images = tmp_path / "images.raw"
    images.write_bytes(bytes(32 * 32))
    assert wanted in refusal(demo, saved(model, tmp_path / "model.pwfn", 32), images)


@pytest.mark.parametrize("std", [0.0, 1e-300])
def test_images_that_no_fixed_point_can_hold_are_refused(demo: Path, std: float, tmp_path: Path) -> None:
    path, images = tmp_path / "model.pwfn", tmp_path / "images.raw"
    data = {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center", "mean": (MEAN,), "std": (std,)}
    pwfn.save(path, changed([0.25, -0.375]), args=RECIPE, data={**data, "input_size": (1, 32, 32)})
    images.write_bytes(bytes(32 * 32))
    assert "make more of a pixel" in refusal(demo, path, images)


@pytest.mark.filterwarnings("ignore:the artifact will not say")
def test_output_that_is_not_complete_is_an_error(demo: Path, tmp_path: Path) -> None:
    path, images = saved(changed([0.25, -0.375]), tmp_path / "model.pwfn", 32), tmp_path / "images.raw"
    images.write_bytes(bytes(32 * 32))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([demo, path, images], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "the output cannot be written\n")


def test_what_it_cannot_run_is_refused_in_one_line(demo: Path, tmp_path: Path) -> None:
    path, images = tmp_path / "model.pwfn", tmp_path / "images.raw"
    images.write_bytes(bytes(32 * 32))
    saved(changed([0.25, 341 / 1024]), path, 32, **RECIPE)
    assert "would stay a multiplication" in refusal(demo, path, images)
    saved(changed([0.25, 2.0**-40]), path, 32, **RECIPE)
    assert "spans more than" in refusal(demo, path, images)
    torch.manual_seed(0)
    saved(timm.create_model("resnet18", num_classes=10, in_chans=1, **RECIPE), path, 32, **RECIPE)
    assert "in no codebook" in refusal(demo, path, images)
    images.write_bytes(bytes(32 * 32 + 1))
    saved(changed([0.25, -0.375]), path, 32, **RECIPE)
    assert "whole number of images" in refusal(demo, path, images)
    vit = timm.create_model("test_vit", num_classes=10, in_chans=3, img_size=32)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.fill_(0.5)
    saved(vit, path, 32, 3, img_size=32)
    images.write_bytes(bytes(3 * 32 * 32))
    assert "not a ResNet of basic blocks" in refusal(demo, path, images)
    assert "not a pwfn artifact" in refusal(demo, images, images)
