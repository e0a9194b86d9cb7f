"""How large model.pwfn is: what bounds it, and what its receipt says."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy

import pwfn
from pwfn.artifact.parts import take_apart
from pwfn.artifact.write import write
from pwfn.bayesian.posterior import quantized_tensors, to_deterministic
from tests.support.clustered import assert_same_model, clustered


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", "resnet10t"])
def test_the_file_keeps_to_the_bound(name: str, tmp_path: Path) -> None:
    network = clustered(name)
    receipt = pwfn.save(tmp_path / "model", network)
    size = (tmp_path / "model").stat().st_size
    weights = np.concatenate([t.mu.detach().numpy().ravel() for t in quantized_tensors(network)])
    bits = entropy(np.unique(weights, return_counts=True)[1], base=2)
    coded = {t.name for t in quantized_tensors(network)}
    state = to_deterministic(network).state_dict()
    rest = sum(v.numel() * v.element_size() for key, v in state.items() if key not in coded)
    assert size <= 1.01 * bits * weights.size / 8 + rest + 20_000
    assert receipt.file == size
    assert receipt.weights == weights.size
    assert receipt.free == 0
    assert receipt.entropy_bits == pytest.approx(bits, rel=1e-12)
    assert receipt.entropy_bound == pytest.approx(bits * weights.size / 8 + rest, abs=2)
    assert receipt.float32 == 4 * weights.size + rest
    width = int(np.ceil(np.log2(receipt.codebook)))
    assert receipt.fixed_width == pytest.approx(width * weights.size / 8 + 4 * receipt.codebook + rest, abs=1)
    assert receipt.codebook == len(np.unique(weights))


@pytest.mark.slow
def test_structure_brings_the_file_below_the_entropy_of_the_whole(tmp_path: Path) -> None:
    """Layers, output and input channels of different scale, as training makes them."""
    torch.manual_seed(0)
    model = to_deterministic(clustered("resnet10t"))
    network = model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4:  # every other output channel is quiet, and every third input channel is off
                quiet = torch.arange(len(parameter)) % 2 == 0
                parameter[quiet] = torch.where(parameter[quiet].abs() > 0.1, 0.0, parameter[quiet])
                parameter[:, ::3] = 0.0
    receipt = pwfn.save(tmp_path / "model", network)
    assert receipt.file is not None
    assert receipt.file < 0.85 * receipt.entropy_bound
    assert_same_model(pwfn.load(tmp_path / "model"), network, 64)


def test_the_receipt_knows_what_zip_makes_of_the_floats(tmp_path: Path) -> None:
    network = clustered("test_resnet")
    parts = take_apart(network)
    receipt = write(tmp_path / "model", parts, None, {}, zipped=True)
    content = b"".join(t.detach().numpy().tobytes() for t in to_deterministic(network).state_dict().values())
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        file.writestr("network", content)
    assert receipt.zip == pytest.approx((tmp_path / "zip").stat().st_size, rel=0.03)
    assert pwfn.describe(tmp_path / "model")["receipt"]["zip"] == receipt.zip
