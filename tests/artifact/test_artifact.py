"""model.pwfn: what is read is what was written, bit for bit, from any kind of network and in any reader."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import pwfn
from pwfn.artifact.container import MAGIC
from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import quantized_tensors, sampled, to_bayesian
from pwfn.clustering.sigma_join import SigmaJoin, divide_by_2, std_mu
from tests.support.artifact import artifact_reader
from tests.support.clustered import assert_same_model, clustered, same_bits

# name, side of the images, arguments for timm, what is quantized
CASES: list[tuple[str, int, dict[str, Any], dict[str, tuple[str, ...]]]] = [
    ("test_resnet", 32, {}, {}),
    ("test_nfnet", 32, {}, {}),  # scaled standardized convolutions
    ("mobilenetv3_small_050", 32, {}, {}),  # depthwise
    ("coat_lite_tiny", 32, {"img_size": 32}, {}),  # tied position encodings
    ("coat_lite_tiny", 32, {"img_size": 32}, {"exclude": ("*crpe*",)}),  # tied, and not quantized
    (
        "deit_tiny_patch16_224",
        32,
        {"img_size": 32, "depth": 2},
        {"include": ("pos_embed", "*norm*"), "exclude": ("head.*",)},
    ),
]


def ident(value: Any) -> str | None:
    return value if isinstance(value, str) else None


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [1.0, 0.4])
@pytest.mark.parametrize(("name", "side", "args", "quantize"), CASES, ids=ident)
def test_what_is_loaded_is_the_runs_final_network(
    name: str, side: int, args: dict[str, Any], quantize: dict[str, Any], fraction: float, tmp_path: Path
) -> None:
    network = clustered(name, fraction=fraction, **quantize, **args)
    path = tmp_path / "model.pwfn"
    state = torch.get_rng_state()
    pwfn.save(path, network, name=name, args=args)
    model = pwfn.load(path)
    assert torch.equal(torch.get_rng_state(), state)
    said = pwfn.describe(path)
    free = sum(int((t.gaussian.assignment == FREE).sum()) for t in quantized_tensors(network))
    assert said["free"] == free
    assert (free > 0) == (fraction < 1)
    assert said["weights"] == sum(t.mu.numel() for t in quantized_tensors(network))
    assert_same_model(model, network, side)
    assert said["model"]["name"] == name
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_a_reader_written_from_the_document_alone_finds_the_same(fraction: float, tmp_path: Path) -> None:
    """`tests/artifact_reader.py` knows nothing of constriction, numpy or pwfn."""
    network = clustered("test_resnet", fraction=fraction, exclude=("layer4*",))
    pwfn.save(tmp_path / "model.pwfn", network)
    header, coded, plain = artifact_reader.read(tmp_path / "model.pwfn")
    state = pwfn.load(tmp_path / "model.pwfn").state_dict()
    assert set(coded) | set(plain) == set(state)
    assert len(coded) > 10
    assert len(plain) > 10
    for name, numbers in coded.items():
        assert struct.pack(f"<{len(numbers)}f", *numbers) == state[name].numpy().tobytes()
    for name, content in plain.items():
        assert content == state[name].numpy().tobytes()
    said = pwfn.describe(tmp_path / "model.pwfn")
    assert {key: said[key] for key in header} == header
    assert (tmp_path / "model.pwfn").read_bytes()[:8] == MAGIC == b"\x89PWFN\r\n\x1a"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "args", "fraction", "join"),
    [
        ("coat_lite_tiny", {"img_size": 32}, 1.0, std_mu),
        ("test_convnext", {}, 0.4, std_mu),
        ("test_convnext", {}, 1.0, divide_by_2),
    ],
    ids=["all", "some", "own"],
)
def test_the_posterior_comes_back_whole(
    name: str, args: dict[str, Any], fraction: float, join: SigmaJoin, tmp_path: Path
) -> None:
    network = clustered(name, fraction=fraction, exclude=("head.*",), sigma_join=join, **args)
    pwfn.save(tmp_path / "without", network, args=args)
    pwfn.save(tmp_path / "with", network, args=args, sigma=True)
    model = pwfn.load(tmp_path / "with", posterior=True)
    for one, other in zip(quantized_tensors(model), quantized_tensors(network), strict=True):
        assert one.name == other.name
        assert same_bits(one.mu, other.mu)
        assert same_bits(one.gaussian.sigma, other.gaussian.sigma)
        assert same_bits(one.gaussian.assignment, other.gaussian.assignment)
    images = torch.randn(2, 3, 32, 32)
    drawn = []
    for each in (model, network):
        torch.manual_seed(3)
        with torch.no_grad(), sampled(each):
            drawn.append(each(images))
    assert torch.equal(drawn[0], drawn[1])
    assert_same_model(pwfn.load(tmp_path / "with"), network, 32)
    if fraction == 1 and join is std_mu:  # the sigmas of a cluster are one, and cost little once the weight is known
        assert (tmp_path / "with").stat().st_size < 1.2 * (tmp_path / "without").stat().st_size
    with pytest.raises(pwfn.ArtifactError, match="without sigmas"):
        pwfn.load(tmp_path / "without", posterior=True)


def test_saving_a_loaded_model_again_gives_the_same_file(tmp_path: Path) -> None:
    pwfn.save(tmp_path / "first", clustered("test_resnet", channels=1))
    pwfn.save(tmp_path / "again", pwfn.load(tmp_path / "first"))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "again").read_bytes()


def test_a_model_that_was_never_clustered_is_stored_exactly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=5).eval()
    model.conv1[0].weight.data.flatten()[:4] = torch.tensor([-0.0, torch.inf, torch.nan, 1e-42])
    pwfn.save(tmp_path / "model", model)
    loaded = pwfn.load(tmp_path / "model").state_dict()
    assert all(same_bits(loaded[key], value) for key, value in model.state_dict().items())


def test_values_off_any_grid_are_stored_exactly(tmp_path: Path) -> None:
    """A codebook of another kind than sums of powers of two, with zeros of both signs."""
    values = torch.tensor([-3.3e38, -0.1, -1e-45, -0.0, 0.0, 1e-45, 0.1, 3.3e38])
    model = timm.create_model("test_resnet", num_classes=5).eval()
    for number, parameter in enumerate(model.parameters()):
        noise = torch.randint(0, 8, parameter.shape, generator=torch.Generator().manual_seed(number))
        parameter.data.copy_(values[noise])
    pwfn.save(tmp_path / "model", model)
    loaded = pwfn.load(tmp_path / "model").state_dict()
    assert all(same_bits(loaded[key], value) for key, value in model.state_dict().items())
    assert len(pwfn.describe(tmp_path / "model")["codebook"]["bits"]) == 8
    pwfn.load(tmp_path / "model")


@pytest.mark.slow
def test_loading_needs_neither_hydra_nor_lightning(tmp_path: Path) -> None:
    pwfn.save(tmp_path / "model.pwfn", clustered("test_resnet"), sigma=True)
    program = """
import json, sys
import pwfn
pwfn.describe(sys.argv[1])
light = "torch" not in sys.modules and "timm" not in sys.modules
model = pwfn.load(sys.argv[1])
pwfn.load(sys.argv[1], posterior=True)
pwfn.save(sys.argv[1] + "2", model)
heavy = {"hydra", "omegaconf", "pytorch_lightning", "lightning", "sklearn", "matplotlib"} & set(sys.modules)
print(json.dumps([light, sorted(heavy), type(model).__module__]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model.pwfn")], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [True, [], "timm.models.resnet"]


def test_the_plain_model_trains_on(tmp_path: Path) -> None:
    """It is an ordinary model: gradients reach every parameter, and it can be made Bayesian again."""
    pwfn.save(tmp_path / "model", clustered("test_resnet"))
    model = pwfn.load(tmp_path / "model").train()
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.requires_grad for p in model.parameters())
    assert len(to_bayesian(model)) > 5
