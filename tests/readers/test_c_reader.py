"""The reader in C gives every tensor bit for bit."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pwfn
from pwfn.artifact.plain_form import FORMS, PlainForm
from pwfn.bayesian.posterior import quantized_tensors
from tests.support.artifact import artifact_reader
from tests.support.artifact.c_reader import run
from tests.support.clustered import clustered


def assert_same_tensors(dump: Path, path: Path) -> None:
    """Everything that the program writes is what the independent reader in Python finds."""
    header, coded, plain = artifact_reader.read(path)
    out = path.with_suffix(".out")

    def written(what: str, dtype: str) -> np.ndarray:
        assert run(dump, path, what, out) == ""
        return np.fromfile(out, dtype=dtype)

    wanted = np.concatenate([np.array(coded[one["names"][0]], dtype="<f4") for one in header["coded"]])
    values, indices = written("--values", "<f4"), written("--indices", "<u2")
    assert values.tobytes() == wanted.tobytes()
    codebook = np.append(np.array(artifact_reader.codebook(header["codebook"]), dtype="<f4"), np.float32(np.nan))
    assert written("--codebook", "<f4").tobytes() == codebook[:-1].tobytes()
    free = indices == len(codebook) - 1
    assert np.count_nonzero(free) == sum(one["free"] for one in header["coded"])
    assert codebook[indices[~free]].tobytes() == values[~free].tobytes()
    assert written("--others", "u1").tobytes() == b"".join(
        plain[one["names"][0]] for one in [*header["plain"], *header.get("filled", [])]
    )
    names = [line.split(" F32 ")[0] for line in run(dump, path).splitlines()[: len(header["coded"])]]
    assert names == [" = ".join(one["names"]) for one in header["coded"]]


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [1.0, 0.9, 0.3])
def test_a_clustered_network(dump: Path, fraction: float, tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, clustered("test_resnet", fraction=fraction))
    assert_same_tensors(dump, path)


@pytest.mark.parametrize("form", FORMS[1:])
def test_norms_in_every_form(dump: Path, form: PlainForm, tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, clustered("test_resnet"), plain=form)
    assert_same_tensors(dump, path)


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.other = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8, bias=False)
        self.other.weight = self.one.weight
        self.register_buffer("empty", torch.empty(0, 3, dtype=torch.float16))


def _of_values(values: Sequence[float]) -> nn.Module:
    network = _Tied()
    with torch.no_grad():
        for parameter in (network.one.weight, network.one.bias):
            chosen = torch.randint(len(values), parameter.shape, generator=torch.Generator().manual_seed(0))
            parameter.copy_(torch.tensor(values)[chosen])
    return network


VALUES = {
    "grid": [-0.375, 0.0, 0.125, 0.25],
    "subnormal": [1e-45, 3e-45, 1e-40, 0.0, -1e-45],
    "largest": [3.4028234663852886e38, -1.7e38, 2.0**127],
    "no common grid": [1e-45, 3.4028234663852886e38, 1.1754944e-38],
    "negative zero": [-0.0, 0.0, 1.0],
    "one value": [0.5],
}


@pytest.mark.filterwarnings("ignore:the artifact will not say")
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_values_of_every_kind_tied_and_empty_tensors(dump: Path, values: Sequence[float], tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, _of_values(values))
    assert_same_tensors(dump, path)


def test_sigmas(dump: Path, artifact: Path, tmp_path: Path) -> None:
    run(dump, artifact, "--sigmas", tmp_path / "sigmas")
    wanted = {t.name: t.gaussian.sigma.detach() for t in quantized_tensors(pwfn.load(artifact, posterior=True))}
    order = [one["names"][0] for one in pwfn.describe(artifact)["coded"]]
    assert (tmp_path / "sigmas").read_bytes() == b"".join(wanted[name].numpy().tobytes() for name in order)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "the output cannot be written"),
        (["--values", "/dev/full"], "the output cannot be written"),
        (["--others", "/dev/full"], "the output cannot be written"),
        (["--values", "/nowhere/weights"], "the output cannot be written"),
        (["--sigmas", "/dev/null"], "the file has no sigmas"),
    ],
)
def test_output_that_is_not_complete_is_an_error(dump: Path, arguments: list[str], wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, clustered("test_resnet"))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [dump, path, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stderr == f"{path}: {wanted}\n"


def test_a_network_larger_than_allowed(dump: Path, artifact: Path) -> None:
    weights = pwfn.describe(artifact)["weights"]
    said = [run(dump, "--check", str(most), text=f"{artifact}\n") for most in (weights, weights - 1)]
    assert said[0] == "sound\n"
    assert "more weights than" in said[1]
