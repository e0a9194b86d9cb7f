"""An artifact in other tools' forms: each is read by that tool, and computes what the model computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from torch import nn

import pwfn
from pwfn import export
from pwfn.artifact.exports.coreml import palettized_weights
from pwfn.artifact.exports.exported import compared
from pwfn.bayesian.posterior import to_deterministic
from tests.support.clustered import clustered
from tests.support.full_disk import files_of_at_most

DATA = {"mean": [0.5], "std": [0.5], "interpolation": "bilinear", "crop_pct": 0.9, "crop_mode": "center"}


def artifact(folder: Path, name: str, channels: int = 3, **args: Any) -> Path:
    path = folder / "model.pwfn"
    data = {**DATA, "input_size": [channels, 32, 32]}
    pwfn.save(path, clustered(name, channels=channels, **args), args=args, data=data, class_names=list("abcde"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("name", "args"), [("test_resnet", {}), ("coat_lite_tiny", {"img_size": 32})])
def test_timm_reads_the_state_dict(name: str, args: dict[str, Any], tmp_path: Path) -> None:
    path = artifact(tmp_path, name, **args)
    said = export.export(path, "safetensors")
    assert said.startswith(f"{tmp_path}/model.safetensors")
    assert "without a bit of difference" in said
    read = timm.create_model(name, num_classes=5, checkpoint_path=str(tmp_path / "model.safetensors"), **args).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(read(images), pwfn.load(path)(images))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        facts = file.metadata()
    assert facts["architecture"].startswith(name)
    assert json.loads(facts["class_names"]) == list("abcde")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels", "args"),
    [("test_resnet", 1, {}), ("test_nfnet", 3, {}), ("test_vit", 3, {"img_size": 32})],
    ids=["resnet", "standardized", "transformer"],
)
def test_onnx_runtime_computes_the_same(name: str, channels: int, args: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = artifact(tmp_path, name, channels, **args)
    assert "run by ONNX Runtime" in export.export(path, "onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    model = pwfn.load(path)
    for batch in (1, 5):
        images = torch.randn(batch, channels, 32, 32)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), model(images), rtol=1e-3, atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["architecture"].startswith(name)
    assert json.loads(facts["data"])["input_size"] == [channels, 32, 32]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model.onnx", "model.pwfn"]


@pytest.mark.slow
def test_core_ml_keeps_look_up_tables_that_are_the_weights(tmp_path: Path) -> None:
    """The weights that come back from the package, put into a fresh model, give the same logits."""
    pytest.importorskip("coremltools")
    path = artifact(tmp_path, "test_resnet")
    assert "palettized" in export.export(path, "coreml")
    found = palettized_weights(tmp_path / "model.mlpackage")
    model, other = pwfn.load(path), pwfn.load(path)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if parameter.ndim > 1:
                parameter.zero_()
                parameter.copy_(found[name.replace(".", "_")])
        assert torch.equal(other(images), model(images))
    size = sum(file.stat().st_size for file in (tmp_path / "model.mlpackage").rglob("*") if file.is_file())
    assert size < 0.35 * sum(4 * p.numel() for p in model.parameters())


# what is refused -----------------------------------------------------------------------------------------------------


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert export.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    return said.err


def test_one_line_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(artifact(tmp_path, "test_resnet"))
    assert "nowhere is not a file" in failed(capsys, f"{tmp_path}/nowhere", "--to", "safetensors")
    wrong = failed(capsys, path, "--to", "safetensors", "--out", f"{tmp_path}/model.pt")
    assert "ends with .safetensors" in wrong
    assert "there is no folder" in failed(capsys, path, "--to", "safetensors", "--out", f"{tmp_path}/no/x.safetensors")
    with pytest.warns(UserWarning, match="will not say"):
        pwfn.save(tmp_path / "nameless", nn.Sequential(nn.Linear(3, 3)))
    assert "does not say how to build" in failed(capsys, f"{tmp_path}/nameless", "--to", "safetensors")
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    assert "pip install 'pwfn[onnx]'" in failed(capsys, path, "--to", "onnx")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model.pwfn", "nameless"]


def test_a_full_disk_leaves_the_older_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = artifact(tmp_path, "test_resnet")
    (tmp_path / "model.safetensors").write_text("an older file")
    with files_of_at_most(20_000):
        assert "File too large" in failed(capsys, str(path), "--to", "safetensors")
    assert (tmp_path / "model.safetensors").read_text() == "an older file"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_form_that_computes_something_else_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = artifact(tmp_path, "test_resnet")
    (tmp_path / "model.safetensors").write_text("an older file")
    monkeypatch.setattr(export, "same_bits", lambda *_: False)
    assert "came back changed" in failed(capsys, str(path), "--to", "safetensors")
    assert (tmp_path / "model.safetensors").read_text() == "an older file"
    assert len(list(tmp_path.iterdir())) == 2

    def unable(*_: Any) -> str:
        raise NotImplementedError("no such\nlayer")

    monkeypatch.setattr(export, "FORMS", {"onnx": export.Form(unable, ".onnx")})
    assert "onnx does not take this model: NotImplementedError: no such layer" in failed(
        capsys, str(path), "--to", "onnx"
    )
    with pytest.raises(export.ExportError, match="the logits differ by up to 1"):
        compared(nn.Identity(), torch.zeros(2, 3), torch.ones(2, 3))


# few values for each tensor ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [256, 16, 4])
def test_an_artifact_of_few_values_a_tensor(most: int, tmp_path: Path) -> None:
    path = artifact(tmp_path, "test_resnet")
    line = export.export(path, "pwfn", tmp_path / "few.pwfn", per_tensor_max=most)
    assert f"at most {most} values a tensor" in line
    before, after = pwfn.load(path).state_dict(), pwfn.load(tmp_path / "few.pwfn").state_dict()
    coded = {name for one in pwfn.describe(path)["coded"] for name in one["names"]}
    for name, wanted in before.items():
        if name not in coded or len(wanted.unique()) <= most:
            assert torch.equal(after[name], wanted)
        else:
            assert len(after[name].unique()) == most
            assert torch.isin(after[name], wanted).all()
    described = [pwfn.describe(one) for one in (path, tmp_path / "few.pwfn")]
    for key in ("model", "data", "class_names", "weights"):
        assert described[0][key] == described[1][key]


@pytest.mark.slow
def test_a_network_that_is_not_clustered_cannot_be_limited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.pwfn"
    model = timm.create_model("test_resnet", num_classes=5)
    pwfn.save(path, model, data={**DATA, "input_size": [3, 32, 32]})
    line = failed(capsys, str(path), "--to", "safetensors", "--per-tensor-max", "16")
    assert "cannot be limited to 16 values" in line


def test_a_form_of_small_tables_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = to_deterministic(clustered("test_resnet"))
    with torch.no_grad():
        weight = network.get_parameter("layer4.0.conv2.weight")
        weight.copy_((torch.arange(weight.numel()) % 257 / 128 - 1).view_as(weight))
    pwfn.save(tmp_path / "model.pwfn", network, data={**DATA, "input_size": [3, 32, 32]})
    monkeypatch.setattr(export, "find_spec", lambda _: True)  # coremltools: nothing of it is asked for
    line = failed(capsys, f"{tmp_path}/model.pwfn", "--to", "coreml")
    assert "layer4.0.conv2.weight has 257 values" in line
    assert "--per-tensor-max 256" in line


@pytest.mark.parametrize("most", [0, -4])
def test_a_tensor_keeps_one_value_at_least(most: int, tmp_path: Path) -> None:
    path = artifact(tmp_path, "test_resnet")
    with pytest.raises(pwfn.ArtifactError, match=f"a whole number from 1 up, got {most}"):
        export.export(path, "pwfn", tmp_path / "few.pwfn", per_tensor_max=most)
    assert [one.name for one in tmp_path.iterdir()] == ["model.pwfn"]


def test_an_artifact_is_not_written_over_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = artifact(tmp_path, "test_resnet")
    content = path.read_bytes()
    assert "is the artifact itself" in failed(capsys, str(path), "--to", "pwfn", "--per-tensor-max", "4")
    assert path.read_bytes() == content


# packed safetensors --------------------------------------------------------------------------------------------------


def plainly_read(path: Path) -> dict[str, np.ndarray]:
    """The packed layout, read as its documentation says, with numpy alone."""
    with safe_open(path, "np") as file:
        packed = json.loads(file.metadata()["pwfn.packed"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    codebook = tensors.pop("pwfn.codebook")
    for name, one in packed.items():
        codes, own, bits = tensors.pop(f"{name}.codes"), tensors.pop(f"{name}.own"), one["bits"]
        if bits < 8:
            shifts = np.arange(0, 8, bits, dtype=np.uint8)
            codes = ((codes[:, None] >> shifts) & (2**bits - 1)).reshape(-1)
        tensors[name] = codebook[own][codes[: np.prod(one["shape"])]].reshape(one["shape"])
    return tensors


@pytest.mark.parametrize("most", [None, 16, 4])
def test_packed_safetensors(most: int | None, tmp_path: Path) -> None:
    path = artifact(tmp_path, "test_resnet")
    if most is not None:
        export.export(path, "pwfn", tmp_path / "few.pwfn", per_tensor_max=most)
        path = tmp_path / "few.pwfn"
    line = export.export(path, "safetensors", packed=True)
    assert "read again without a bit of difference" in line
    written = path.with_suffix(".safetensors")
    found, state = plainly_read(written), pwfn.load(path).state_dict()
    assert found.keys() == state.keys()
    assert [key for key in state if found[key].tobytes() != state[key].numpy().tobytes()] == []
    weights = 4 * pwfn.describe(path)["weights"]
    rest = sum(4 * value.numel() for value in state.values() if value.ndim < 2)
    assert written.stat().st_size < weights * {None: 0.27, 16: 0.145, 4: 0.085}[most] + rest + 30_000
