"""A packed ONNX model holds the codebook once and indices elsewhere, and computes what the network computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pwfn
from pwfn import export
from pwfn.artifact.exports.onnx_packed import CODEBOOK, pack
from pwfn.bayesian.posterior import to_deterministic
from tests.support.clustered import clustered

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

DATA = {"mean": [0.5], "std": [0.5], "interpolation": "bilinear", "crop_pct": 0.9, "crop_mode": "center"}


def artifact(folder: Path, network: nn.Module, channels: int = 3, **args: Any) -> Path:
    path = folder / "model.pwfn"
    pwfn.save(path, network, args=args, data={**DATA, "input_size": [channels, 32, 32]})
    return path


def session(path: Path, *disabled: str) -> Any:
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled))


def matrix_product(weights: np.ndarray) -> Any:
    """An ONNX model that multiplies by one initializer."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", 1, ["n", weights.shape[0]])],
        [helper.make_tensor_value_info("y", 1, ["n", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)])


@pytest.mark.parametrize(
    ("shared", "own", "bits"),
    [(3, 3, 2), (40, 4, 2), (16, 16, 4), (40, 13, 4), (256, 256, 8), (300, 90, 8), (300, 300, 16)],
)
def test_every_width_gives_the_weights_bit_for_bit(shared: int, own: int, bits: int, tmp_path: Path) -> None:
    codebook = np.linspace(-1, 1, shared, dtype=np.float32)
    dice = np.random.default_rng(0)
    places = dice.choice(shared, own, replace=False)[dice.integers(0, own, (33, 97))]
    places.reshape(-1)[:own] = np.unique(places)[np.arange(own) % len(np.unique(places))]
    model = matrix_product(codebook[places])
    dense = model.ByteSize()
    packed = pack(model, codebook)
    assert (packed.tensors, packed.weights, packed.bits) == (1, places.size, bits)
    assert model.ByteSize() < dense * bits / 32 + 4 * shared + 1200
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "packed.onnx")
    for disabled in ((), ("ConstantFolding",)):
        (found,) = session(tmp_path / "packed.onnx", *disabled).run(None, {"x": np.eye(33, dtype=np.float32)})
        assert np.array_equal(found, codebook[places])


def test_what_is_small_or_has_values_of_its_own_stays() -> None:
    codebook = np.array([-1, 0, 1], dtype=np.float32)
    other = np.zeros((64, 64), dtype=np.float32)
    other[5, 5] = -0.0  # another number, bit for bit
    for weights in (np.zeros((10, 10), dtype=np.float32), other):
        model = matrix_product(weights)
        assert pack(model, codebook).tensors == 0
        assert [one.name for one in model.graph.initializer] == ["w"]
        assert len(model.graph.node) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels", "args"),
    [
        ("test_resnet", 1, {}),
        ("test_nfnet", 3, {}),
        ("test_vit", 3, {"img_size": 32}),
        ("test_efficientnet", 3, {}),
        ("test_convnext", 3, {}),
    ],
)
def test_families(name: str, channels: int, args: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    path = artifact(tmp_path, clustered(name, channels=channels, **args), channels, **args)
    said = export.export(path, "onnx", packed=True)
    assert "run by ONNX Runtime at batch 1, 3 and 8" in said
    model = onnx.load(tmp_path / "model.onnx")
    floats = sum(np.prod(one.dims) for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT)
    weights = pwfn.describe(path)["weights"]
    assert floats < 0.25 * weights
    assert sum(one.name == CODEBOOK for one in model.graph.initializer) == 1
    assert {node.domain for node in model.graph.node} == {""}
    plain = pwfn.load(path)
    images = torch.randn(5, channels, 32, 32)
    with torch.no_grad():
        wanted = plain(images)
    (found,) = session(tmp_path / "model.onnx").run(["logits"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_transformer_of_four_bits_is_an_eighth_of_its_size(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = to_deterministic(clustered("test_vit", img_size=32))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_((parameter.clamp(-0.2, 0.2) * 35).round() / 35)
    path = artifact(tmp_path, model, img_size=32)
    dense, packed = tmp_path / "dense.onnx", tmp_path / "packed.onnx"
    export.export(path, "onnx", dense)
    assert "of up to 4 bits" in export.export(path, "onnx", packed, packed=True)
    sizes = [sum(one.ByteSize() for one in onnx.load(path).graph.initializer) for path in (dense, packed)]
    small = sum(4 * one.numel() for one in model.parameters() if one.ndim == 1)
    assert sizes[1] < sizes[0] / 8 + small + 20_000


def test_what_cannot_be_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = artifact(tmp_path, clustered("test_resnet"))
    assert export.main([str(path), "--to", "pwfn", "--out", f"{tmp_path}/few.pwfn", "--packed"]) == 2
    assert "packed is a choice of safetensors and onnx, not of pwfn" in capsys.readouterr().err
