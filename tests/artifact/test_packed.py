"""A packed model computes the same logits bit for bit, whatever is done to it, in a fraction of the memory."""

from __future__ import annotations

import copy
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pwfn
from pwfn.artifact.packed import packed_lookups, resident_bytes
from pwfn.bayesian.posterior import to_deterministic
from tests.support.clustered import clustered, same_bits
from tests.support.project import PROJECT, clean_environment

SIDE = 32


def images(count: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def few_values(name: str, values: int, **args: Any) -> nn.Module:
    """A plain model whose tensors each have at most so many values, twice as many together."""
    model = to_deterministic(clustered(name, **args))
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            if parameter.ndim > 1:
                spread = torch.linspace(-0.25, 0.25, values) * (1 + number % 2)
                places = torch.randint(values, parameter.shape, generator=torch.Generator().manual_seed(number))
                parameter.copy_(spread[places])
    return sensitive(model.eval())


@torch.no_grad()
def sensitive(model: nn.Module) -> nn.Module:
    """The same weights with a BatchNorm of the statistics that they give: what differs between images gets through."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
            nn.init.ones_(module.weight)
    model.train()(images(8))
    return model.eval()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "model.pwfn"
    pwfn.save(path, sensitive(clustered("test_resnet")))
    return path


@torch.no_grad()
def logits(model: nn.Module, given: Tensor) -> Tensor:
    return model(given)


def assert_same(packed: nn.Module, plain: nn.Module) -> None:
    """Every weight, and the logits of images that the model tells apart."""
    for name, wanted in plain.named_parameters():
        module, _, own = name.rpartition(".")
        assert same_bits(getattr(packed.get_submodule(module), own), wanted)
    found = logits(packed, images())
    assert torch.equal(found, logits(plain, images()))
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("test_resnet", {}),
        ("test_vit", {"img_size": SIDE}),
        ("test_nfnet", {}),
        ("test_efficientnet", {}),
        ("test_convnext", {}),
        ("coat_lite_tiny", {"img_size": SIDE}),
        ("swin_tiny_patch4_window7_224", {"img_size": SIDE, "window_size": 4, "embed_dim": 24, "depths": (2, 2)}),
    ],
)
def test_same_logits_bit_for_bit(name: str, args: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, sensitive(clustered(name, **args)), args=args)
    plain, packed = pwfn.load(path), pwfn.load(path, packed=True)
    assert_same(packed, plain)
    assert not packed.training
    assert type(packed) is type(plain)
    dense = sum(one.numel() for one in plain.parameters() if one.ndim > 1)
    assert sum(np.prod(one.shape) for one in packed_lookups(packed)) > 0.9 * dense


@pytest.mark.slow
@pytest.mark.parametrize(("values", "bits"), [(3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8), (257, 16)])
def test_as_few_bits_as_the_values_of_a_tensor_need(values: int, bits: int, tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, few_values("test_resnet", values))
    plain, packed = pwfn.load(path), pwfn.load(path, packed=True)
    assert max(one.bits for one in packed_lookups(packed)) == bits
    assert_same(packed, plain)
    weights = sum(4 * np.prod(one.shape) for one in packed_lookups(packed))
    held = sum(resident_bytes(one) for one in packed_lookups(packed))
    assert held < (bits / 32 + 0.03) * weights
    for dtype in (torch.float16, torch.float64):
        given = images().to(dtype)
        assert torch.equal(logits(packed.to(dtype), given), logits(plain.to(dtype), given))
        packed, plain = pwfn.load(path, packed=True), pwfn.load(path)


def test_the_memory_that_is_promised(artifact: Path, tmp_path: Path) -> None:
    ratio = resident_bytes(pwfn.load(artifact, packed=True)) / resident_bytes(pwfn.load(artifact))
    assert ratio <= 0.27
    pwfn.save(tmp_path / "few.pwfn", few_values("test_resnet", 16))
    packed = pwfn.load(tmp_path / "few.pwfn", packed=True)
    assert resident_bytes(packed) / resident_bytes(pwfn.load(tmp_path / "few.pwfn")) <= 0.15


def test_a_copy_halves_and_moves(artifact: Path) -> None:
    plain, packed = pwfn.load(artifact), pwfn.load(artifact, packed=True)
    other = copy.deepcopy(packed)
    assert torch.equal(logits(other.half(), images().half()), logits(copy.deepcopy(plain).half(), images().half()))
    tables = {id(one.table) for one in packed_lookups(other)}
    assert len(tables) == 1
    assert tables.isdisjoint({id(one.table) for one in packed_lookups(packed)})
    assert_same(packed, plain)
    moved = packed.to("meta")
    assert {tensor.device.type for tensor in (*moved.parameters(), *moved.buffers())} == {"meta"}
    assert moved(images().to("meta")).shape == (2, 5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(artifact: Path) -> None:
    plain, packed = pwfn.load(artifact).cuda(), pwfn.load(artifact, packed=True).cuda()
    assert torch.equal(logits(packed, images().cuda()), logits(plain, images().cuda()))


def test_a_state_dict_makes_the_round_trip(artifact: Path, tmp_path: Path) -> None:
    packed = pwfn.load(artifact, packed=True)
    torch.save(packed.state_dict(), tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < 0.4 * resident_bytes(pwfn.load(artifact))
    other = pwfn.load(artifact, packed=True)
    for one in packed_lookups(other):
        one.codes.zero_()
    assert not torch.equal(logits(other, images()), logits(packed, images()))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(logits(other, images()), logits(packed, images()))


def test_a_model_that_was_given_is_packed(artifact: Path) -> None:
    model = to_deterministic(clustered("test_resnet", fraction=0.5))
    assert pwfn.load(artifact, model=model, packed=True) is model
    assert_same(model, pwfn.load(artifact))


def test_tied_weights_are_held_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(64, 64), nn.Linear(64, 64, bias=False)
            self.other.weight = self.one.weight
            self.again = self.one

        def forward(self, given: Tensor) -> Tensor:
            return self.again(self.other(self.one(given)))

    network = Tied()
    with torch.no_grad():
        network.one.weight.copy_((network.one.weight * 64).round() / 64)
    with pytest.warns(UserWarning, match="will not say"):
        pwfn.save(tmp_path / "model.pwfn", network)
    packed = pwfn.load(tmp_path / "model.pwfn", model=Tied(), packed=True)
    assert len(list(packed_lookups(packed))) == 1
    packed = copy.deepcopy(packed).double().float()
    assert len({one.codes.data_ptr() for one in packed_lookups(packed)}) == 1
    given = torch.randn(3, 64)
    assert torch.equal(logits(packed, given), logits(network, given))


def test_tensors_with_free_weights_stay_dense(tmp_path: Path) -> None:
    pwfn.save(tmp_path / "model.pwfn", sensitive(clustered("test_resnet", fraction=0.5)))
    plain, packed = pwfn.load(tmp_path / "model.pwfn"), pwfn.load(tmp_path / "model.pwfn", packed=True)
    assert_same(packed, plain)
    assert len(list(packed_lookups(packed))) < sum(one.ndim > 1 for one in plain.parameters())


@pytest.mark.slow
def test_exported(artifact: Path) -> None:
    plain, packed = pwfn.load(artifact), pwfn.load(artifact, packed=True)
    program = torch.export.export(packed, (images(),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for count in (1, 5):
        assert torch.equal(logits(program.module(), images(count)), logits(plain, images(count)))
    held = [value for value in program.state_dict.values() if value.dtype == torch.uint8]
    assert sum(value.numel() for value in held) == sum(one.codes.numel() for one in packed_lookups(packed))


@pytest.mark.slow
def test_compiled(artifact: Path) -> None:
    """The model is one graph; the compiler's arithmetic differs in the last bits, the eager backend's does not."""
    plain, packed = pwfn.load(artifact), pwfn.load(artifact, packed=True)
    found = logits(torch.compile(packed, fullgraph=True), images())
    torch.testing.assert_close(found, logits(plain, images()), rtol=1e-4, atol=1e-5)
    eager = torch.compile(packed, fullgraph=True, backend="eager")
    assert torch.equal(logits(eager, images()), logits(plain, images()))


@pytest.mark.slow
def test_a_forward_pass_needs_the_weights_of_one_layer_at_a_time() -> None:
    """In a process of its own, whose allocator gives back what is freed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.artifact.packed_peak"],
        cwd=PROJECT,
        env=clean_environment(MALLOC_MMAP_THRESHOLD_="65536"),
        capture_output=True,
        text=True,
        check=False,
    )
    if "not writable" in done.stderr:
        pytest.skip("the peak of memory cannot be measured here: /proc/self/clear_refs is not writable")
    assert done.returncode == 0, done.stderr
    peak, layer = map(int, done.stdout.split())
    assert layer < peak < 1.2 * layer


def test_loading_needs_the_packed_weights_and_one_layer(tmp_path: Path) -> None:
    """As numpy counts it; the model's parameters are never made."""
    path = tmp_path / "model.pwfn"
    pwfn.save(path, few_values("test_vit", 16, img_size=224), args={"img_size": 224})
    pwfn.load(path, packed=True)
    tracemalloc.start()
    try:
        packed = pwfn.load(path, packed=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    largest = max(4 * np.prod(one.shape) for one in packed_lookups(packed))
    assert peak < path.stat().st_size + resident_bytes(packed) + largest + 2e6
