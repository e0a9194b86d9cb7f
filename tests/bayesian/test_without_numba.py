"""Everything works without Numba, which is optional, with the same draws to rounding."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from pwfn.bayesian import sampled, to_bayesian
from pwfn.bayesian.kernels.choice import numba_cpu
from tests.support.project import PROJECT

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
sys.modules["numba"] = None  # an import of it fails as where it is not installed
import torch
from pwfn.bayesian import sampled, to_bayesian
from pwfn.bayesian.kernels import backend, choose_kernels, installed_kernels
from pwfn.bayesian.kernels.choice import KERNELS
of_gpu = ["triton_cuda"] if KERNELS["triton_cuda"]() is not None else []
names = ["auto", *of_gpu, "reference"]
assert installed_kernels() == names, installed_kernels()
try:
    choose_kernels("numba_cpu")
except ValueError as error:
    assert str(error) == f"kernels = 'numba_cpu': must be one of {', '.join(names)}", error
else:
    raise AssertionError
torch.manual_seed(0)
network = torch.nn.Linear(30, 50)
for tensor in to_bayesian(network):
    tensor.gaussian.sigma.data.fill_(1.0)
with sampled(network):
    print(network.weight.flatten().tolist())
    network(torch.ones(30)).sum().backward()
"""


def test_the_package_draws_the_same_weights_without_numba() -> None:
    pytest.importorskip("numba")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=PROJECT, check=False)
    assert done.returncode == 0, done.stderr
    torch.manual_seed(0)
    network = nn.Linear(30, 50)
    for tensor in to_bayesian(network):
        tensor.gaussian.sigma.data.fill_(1.0)
    with sampled(network):
        expected = network.weight.flatten().detach()
    drawn = torch.tensor([float(number) for number in done.stdout.strip("[]\n").split(",")])
    torch.testing.assert_close(drawn, expected, rtol=2e-6, atol=2e-6)


def test_another_module_that_is_missing_is_not_taken_for_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pwfn.bayesian.kernels.numba_cpu", None)
    with pytest.raises(ModuleNotFoundError, match=r"pwfn\.bayesian\.kernels\.numba_cpu"):
        numba_cpu.__wrapped__()
