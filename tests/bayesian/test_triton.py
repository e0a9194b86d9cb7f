"""The kernels of a GPU without one: compiled for two kinds of it, and run by Triton's interpreter."""

from __future__ import annotations

import importlib
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pwfn.bayesian.kernels import Gaussian
from pwfn.bayesian.kernels.choice import triton_cuda
from pwfn.bayesian.kernels.reference import Reference
from pwfn.bayesian.regularizer import LinearRegularizer
from tests.support.kernels import INTERPRETED, ON_GPU, implementation, launching_only
from tests.support.project import PROJECT, clean_environment

pytestmark = pytest.mark.triton
pytest.importorskip("triton")
in_interpreter = pytest.mark.skipif(not INTERPRETED, reason="run by test_under_the_interpreter in another process")
in_compiler = pytest.mark.skipif(INTERPRETED, reason="the interpreter takes the compiler's place")

KEY = 0xFEDCBA9876543210
TABLES = {"table": "*i64", "owners": "*i32", "blocks": "*i32"}
WORDS = {"k0": "i32", "k1": "i32"}
COMPILED = {
    "draw": {"penalties": "*fp32", **WORDS},
    "sigma_gradients": {"scale": "*fp32", **WORDS},
    "add_masked": {"factor": "*fp32"},
    "keep_free": {},
    "fill_noise": WORDS,
}
LAYOUTS = ["rows", "channels last", "transposed", "mixed"]


@in_compiler
@pytest.mark.slow
def test_under_the_interpreter(tmp_path: Path) -> None:
    """All tests of the kernels, of their noise and of draws, with those of a GPU, and the tests of this file below."""
    files = [f"tests/bayesian/test_{name}.py" for name in ("triton", "kernels", "noise", "sampling")]
    chosen = ["-k", f"{ON_GPU} or test_triton", "-p", "no:cacheprovider", "-v"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *files, *chosen],
        capture_output=True, text=True, cwd=PROJECT, check=False,
        env=clean_environment(TRITON_INTERPRET="1", TRITON_CACHE_DIR=str(tmp_path)),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 100


@pytest.mark.slow
@in_compiler
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("name", COMPILED)
def test_kernels_compile_for_a_gpu(name: str, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To machine code of an A100 and an H100, which need not be there."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiler = importlib.import_module("triton.compiler")
    target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", capability, 32)
    kernels = importlib.import_module("pwfn.bayesian.kernels.triton_compiled")
    made = importlib.import_module("pwfn.bayesian.kernels.triton_cuda")
    kernel = getattr(kernels, name)
    given = TABLES | COMPILED[name]
    signature = {argument: given.get(argument, "constexpr") for argument in kernel.arg_names}
    constants = {"columns": kernels.COLUMNS, "pairs": made.PAIRS}
    built = compiler.compile(compiler.ASTSource(kernel, signature=signature, constexprs=constants), target=target)
    assert len(built.asm["cubin"]) > 1000


def test_they_are_for_float32_on_a_gpu_alone() -> None:
    kernels = importlib.import_module("pwfn.bayesian.kernels.triton_cuda").TritonCUDA()
    assert not kernels.supports([torch.empty(2)])
    assert not kernels.supports([torch.empty(2, device="meta")])
    triton_cuda.cache_clear()  # a test of settings may have said that there is a GPU
    if not torch.cuda.is_available():
        assert triton_cuda() is None


def test_several_tensors_are_copied_in_one_operation_by_torch_2_14() -> None:
    copies = importlib.import_module("pwfn.bayesian.kernels.triton_cuda").copies
    given = [torch.tensor([math.nan, -0.0, math.inf]), torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)]
    with torch.autograd.profiler.profile() as profiled:
        made = copies(given)
    assert [event.name for event in profiled.function_events if event.cpu_parent is None] == ["aten::_foreach_mul"]
    for copy, tensor in zip(made, given, strict=True):
        assert copy.data_ptr() != tensor.data_ptr()
        assert copy.stride() == tensor.stride()
        assert torch.equal(copy.contiguous().view(torch.int32), tensor.contiguous().view(torch.int32))


class Made(TorchDispatchMode):
    """Counts the bytes of what operations make."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(t.nbytes for t in (made if isinstance(made, (list, tuple)) else [made]))
        return made


@in_compiler
def test_a_draw_makes_no_noise_and_keeps_nothing_beside_the_weights() -> None:
    kernels, rule = launching_only(), LinearRegularizer(0.3, 1.0)
    mus = [torch.zeros(shape) for shape in ((300, 300, 3, 3), (5,), (1000, 400))]
    gaussians = [Gaussian(i, mu, torch.ones_like(mu), mu == 0, mu == 0, rule) for i, mu in enumerate(mus)]
    of_weights = sum(mu.nbytes for mu in mus)
    kernels.draw(gaussians, KEY)  # the tables that stay are made
    with Made() as made:
        weights, _ = kernels.draw(gaussians, KEY)
    assert of_weights <= made.bytes < 1.01 * of_weights
    with Made() as made:
        kernels.sigma_gradients(gaussians, weights, torch.tensor(1.0), KEY)
    assert of_weights <= made.bytes < 1.01 * of_weights
    with Made() as made:
        kernels.add_masked([(w, g.mu, g.free_mu) for w, g in zip(weights, gaussians, strict=True)], torch.tensor(1.0))
        kernels.keep_free([(w, g.free_mu) for w, g in zip(weights, gaussians, strict=True)])
    assert made.bytes < 0.01 * of_weights


def laid_out(values: Tensor, layout: str, turn: int) -> Tensor:
    """The same numbers, otherwise in memory; `mixed` changes from one tensor to the next."""
    if layout == "mixed":
        layout = LAYOUTS[turn % 3]
    if layout == "channels last":
        return values.to(memory_format=torch.channels_last)
    if layout == "transposed":
        return values.transpose(0, 3).contiguous().transpose(0, 3)
    return values


@in_interpreter
@pytest.mark.parametrize("pairs", [512, 2048])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_may_lie_in_memory_as_they_like(layout: str, pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, reference = implementation(ON_GPU), Reference()
    monkeypatch.setattr(type(kernels), "pairs", pairs)
    numbers = torch.Generator().manual_seed(0)
    gaussians, grads = [], []
    for turn, shape in enumerate([(5, 3, 7, 2), (1, 1, 1, 1), (64, 3, 3, 3), (0, 3, 3, 3), (9, 40, 1, 1)]):
        mu, sigma, grad = (laid_out(torch.randn(shape, generator=numbers), layout, turn + i) for i in range(3))
        free = laid_out(torch.rand(shape, generator=numbers) < 0.5, layout, turn)
        gaussians.append(Gaussian(turn, mu, sigma, free, None if turn % 2 else free, LinearRegularizer(0.3, 1.0)))
        grads.append(grad)
    made, expected = (ones.draw(gaussians, KEY) for ones in (kernels, reference))
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    scale = torch.tensor(3.0)
    made_grads, expected_grads = (ones.sigma_gradients(gaussians, grads, scale, KEY) for ones in (kernels, reference))
    torch.testing.assert_close(made_grads, expected_grads, rtol=1e-5, atol=1e-5)


@in_interpreter
@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_and_decay_may_meet_any_layout(layout: str) -> None:
    kernels, reference = implementation(ON_GPU), Reference()
    for factor in (-0.3, torch.tensor(-0.3)):
        ends = []
        for ones in (kernels, reference):
            numbers = torch.Generator().manual_seed(0)
            rows = []
            for turn, shape in enumerate([(5, 3, 7, 2), (64, 3, 3, 3), (0, 3, 3, 3)]):
                total, values = (laid_out(torch.randn(shape, generator=numbers), layout, turn + i) for i in range(2))
                rows.append((total, values, laid_out(torch.rand(shape, generator=numbers) < 0.5, layout, turn)))
            ones.add_masked(rows, factor)
            ones.keep_free([(total, free) for total, _, free in rows[:2]])
            ends.append([total for total, _, _ in rows])
            assert not rows[1][0][~rows[1][2]].any()
        torch.testing.assert_close(*ends)


@in_interpreter
def test_one_launch_draws_all_groups_and_each_has_its_own_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, launches = implementation(ON_GPU), []
    start = type(kernels)._start
    monkeypatch.setattr(type(kernels), "_start", lambda *given: (launches.append(given[1]), start(*given)))
    rule = LinearRegularizer(0.3, 0.5)
    groups = [[Gaussian(i, torch.zeros(50_000), torch.full((50_000,), 0.1), None, None, rule)] for i in range(3)]
    drawn = list(kernels.draw_groups(groups, KEY))
    assert len(launches) == 1
    weights = torch.stack([weight for (weight,), _ in drawn]) / 0.1
    expected = sum(Reference().draw(group, KEY)[1] for group in groups)
    torch.testing.assert_close(sum(penalty for _, penalty in drawn), expected)
    assert (torch.corrcoef(weights) - torch.eye(3)).abs().max() < 5 / math.sqrt(50_000)
    moments = [(weights**power).mean(1) for power in (1, 2, 3, 4)]
    for moment, true, variance in zip(moments, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert (moment - true).abs().max() < 5 * math.sqrt(variance / 50_000)
    again = [weight for (weight,), _ in kernels.draw_groups(groups, KEY)]
    assert all(torch.equal(a, b) for a, ((b,), _) in zip(again, drawn, strict=True))
    other = torch.stack([weight for (weight,), _ in kernels.draw_groups(groups, KEY + 1)]) / 0.1
    assert torch.corrcoef(torch.cat([weights, other]))[:3, 3:].abs().max() < 5 / math.sqrt(50_000)
