"""Rounds of the original research code (inputs and outputs recorded once) are reproduced."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pwfn.clustering import sigma_join
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rounds.greedy_round import cluster_round
from tests.support.project import RECORDED

GOLDEN = sorted((RECORDED / "golden").glob("*.npz"))
RULES = {  # the original's names for the rules
    "std_mu": sigma_join.std_mu,
    "allow_retraining": sigma_join.allow_retraining,
    "keep_the_same_divide_by_10": sigma_join.divide_by_10,
}


def test_golden_files_are_there() -> None:
    assert len(GOLDEN) == 6


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_round(path: Path) -> None:
    z = np.load(path)
    start, end, rounds = float(z["start_sigma"]), float(z["end_sigma"]), int(z["num_rounds"])
    result = cluster_round(
        torch.from_numpy(z["mu"]).double(),
        torch.from_numpy(z["sigma"]).double(),
        fraction=float(z["fraction"]),
        threshold=start + (end - start) * int(z["round"]) / (rounds - 1),
        inc=float(z["inc"]),
        codebook=AdditivePow2(int(z["b"])),
        zero_fix=bool(z["zero_fix"]),
        sigma_join=RULES[str(z["sigma_join"])],
    )
    assert torch.equal(result.mu.float(), torch.from_numpy(z["new_mu"]))
    torch.testing.assert_close(result.sigma, torch.from_numpy(z["new_sigma"]).double(), rtol=1e-5, atol=1e-12)
    assert torch.equal(result.codebook, torch.from_numpy(z["codebook"]))
    assert result.threshold == float(z["final_k"])
