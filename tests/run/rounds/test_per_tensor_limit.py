"""A whole run whose codebook has a limit for each tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pwfn
from tests.support.project import Compose


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", ["sigma", "fisher"])
def test_every_tensor_ends_with_few_values(small_run: Any, tolerance: str, tmp_path: Path) -> None:
    small_run(tmp_path, "codebook.per_tensor_max=16", f"tolerance={tolerance}")
    model, header = pwfn.load(tmp_path / "model.pwfn"), pwfn.describe(tmp_path / "model.pwfn")
    state = model.state_dict()
    counts = [len(state[one["names"][0]].unique()) for one in header["coded"]]
    assert max(counts) == 16
    assert header["receipt"]["codebook"] > 16


@pytest.mark.parametrize("codebook", ["additive_pow2", "pow2", "uniform", "kmeans"])
def test_the_limit_is_one_that_an_index_has(composed: Compose, codebook: str) -> None:
    from pwfn.config import build
    from pwfn.run.settings import TrainSettings

    if codebook == "kmeans":
        pytest.importorskip("ckwrap")
    wrong = composed(f"codebook={codebook}", "codebook.per_tensor_max=17")
    with pytest.raises(Exception, match=r"per_tensor_max = 17.*null, 256, 16 or 4"):
        build.load(TrainSettings, wrong)
    right = composed(f"codebook={codebook}", "codebook.per_tensor_max=16")
    assert build.load(TrainSettings, right).codebook.per_tensor_max == 16
