"""One draw in autograd: gradients masked for the draw alone, several losses, tensors drawn together and one by one."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from pwfn.bayesian.kernels import Gaussian, choose_kernels
from pwfn.bayesian.posterior import quantized_tensors, sampled, to_bayesian
from pwfn.bayesian.regularizer import LinearRegularizer, NoRegularizer
from pwfn.bayesian.sampling import draw, fresh_key
from pwfn.tensor_version import tensor_version
from tests.support.kernels import IMPLEMENTATIONS, implementation

SHAPE = (40, 50)
FREE = torch.arange(2000).view(SHAPE) % 2 == 0


@pytest.fixture(autouse=True, params=IMPLEMENTATIONS)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    implementation(name)
    monkeypatch.setattr("pwfn.bayesian.kernels.choice._chosen", "auto")  # put back afterwards
    choose_kernels(name)
    return name


def drawn(*mus: Tensor, masks: tuple[Tensor | None, ...] = (FREE,)) -> list[Tensor]:
    """Draws with sigma at 1, of which half, or the masks' share, is fixed."""
    gaussians = [
        Gaussian(number, mu, torch.ones_like(mu, requires_grad=True), mask, mask, NoRegularizer())
        for number, (mu, mask) in enumerate(zip(mus, masks, strict=True))
    ]
    return draw(gaussians, 1)[0]


def test_backward_gives_mu_the_gradient_of_the_weights_and_changes_no_gradient() -> None:
    mu, kept = torch.randn(SHAPE, requires_grad=True), list[Tensor]()
    (weight,) = drawn(mu)
    weight.register_hook(kept.append)
    weight.exp().sum().backward()
    assert mu.grad is not None
    assert torch.equal(mu.grad, weight.detach().exp())
    torch.testing.assert_close(kept[0], weight.detach().exp())


def test_a_weight_that_the_loss_makes_no_use_of_has_a_gradient_of_zero() -> None:
    mus = [torch.randn(SHAPE, requires_grad=True) for _ in range(2)]
    drawn(*mus, masks=(None, None))[0].sum().backward()
    assert mus[0].grad is not None
    assert torch.equal(mus[0].grad, torch.ones(SHAPE))
    assert mus[1].grad is not None
    assert torch.equal(mus[1].grad, torch.zeros(SHAPE))


def test_gradients_accumulate_over_draws() -> None:
    mu = torch.randn(SHAPE, requires_grad=True)
    for _ in range(3):
        (drawn(mu)[0] * 2).sum().backward()
    assert mu.grad is not None
    assert torch.equal(mu.grad, torch.full(SHAPE, 6.0))


def test_losses_of_a_draw_may_be_differentiated_one_after_the_other() -> None:
    """As gradient checkpointing of layers does."""
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    to_bayesian(network)
    images = torch.randn(5, 3)
    with sampled(network):
        for layer in network:
            layer(images).square().sum().backward()
    grads = [tensor.mu.grad for tensor in quantized_tensors(network)]
    assert all(grad is not None and (grad != 0).all() for grad in grads)


def test_a_sigma_that_changes_before_its_backward_pass_is_refused() -> None:
    network = nn.Linear(3, 3)
    to_bayesian(network)
    with sampled(network):
        loss = network(torch.randn(5, 3)).square().sum()
    with torch.no_grad():
        quantized_tensors(network)[0].gaussian.sigma.add_(1)
    with pytest.raises(RuntimeError, match="a sigma has been changed in place between a draw and its backward pass"):
        loss.backward()


def test_changes_in_place_are_counted_by_torch_2_14() -> None:
    values = torch.zeros(3)
    before = tensor_version(values)
    values[1:].add_(1)
    assert tensor_version(values) == before + 1
    values.add(1)
    assert tensor_version(values) == before + 1


def test_the_key_comes_from_the_generator_of_the_cpu_and_fills_64_bits() -> None:
    torch.manual_seed(0)
    keys = [fresh_key() for _ in range(200)]
    assert min(keys) >= 0
    assert 2**63 < max(keys) < 2**64
    assert len(set(keys)) == 200
    torch.default_generator.manual_seed(0)
    assert fresh_key() == keys[0]


def test_neighboring_small_tensors_share_a_node_of_the_graph(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(implementation(kernels)), "weights_together", lambda *_: 1000)
    mus = [torch.zeros(size, requires_grad=True) for size in (10, 20, 1000, 30)]
    first, second, large, last = drawn(*mus, masks=(None,) * 4)
    assert first.grad_fn is second.grad_fn
    assert len({first.grad_fn, large.grad_fn, last.grad_fn}) == 3


def test_gradients_are_ready_while_backward_goes_on_with_torch_2_14(
    kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the last group first, before the layers that have another: DDP sends them meanwhile."""
    monkeypatch.setattr(type(implementation(kernels)), "weights_together", lambda *_: 100)
    network, order = nn.Sequential(*(nn.Linear(9, 9) for _ in range(3))), list[str]()
    for number, tensor in enumerate(to_bayesian(network)):
        for name, parameter in (("mu", tensor.mu), ("sigma", tensor.gaussian.sigma)):
            told = f"{name} {number // 2}"  # weight and bias
            parameter.register_post_accumulate_grad_hook(lambda _, told=told: order.append(told))
    for number, layer in enumerate(network):
        layer.register_full_backward_hook(lambda *_, number=number: order.append(f"layer {number}"))
    with sampled(network, LinearRegularizer()) as penalty:
        (network(torch.randn(2, 9, requires_grad=True)).sum() + penalty).backward()
    assert sorted(order[:5]) == ["layer 2", "mu 2", "mu 2", "sigma 2", "sigma 2"]
    assert sorted(order[5:10]) == ["layer 1", "mu 1", "mu 1", "sigma 1", "sigma 1"]


def test_tensors_drawn_together_are_those_drawn_one_by_one() -> None:
    """Some masked, some without sigmas to train, one that no loss reaches, one of several spans."""
    sizes = (3, 1500, 0, 70_000, 9)
    rules = [LinearRegularizer(0.3, 0.05), LinearRegularizer(0.3, 1.0), NoRegularizer(), LinearRegularizer(2, 0.05)]
    numbers = torch.Generator().manual_seed(0)
    starts = [torch.randn(size, generator=numbers) for size in sizes]
    spreads = [0.1 * torch.rand(size, generator=numbers) for size in sizes]
    masks = [torch.rand(size, generator=numbers) < 0.4 if size % 2 else None for size in sizes]
    weighting = [torch.randn(size, generator=numbers) for size in sizes]

    def gradients(groups: list[list[int]]) -> list[Tensor | None]:
        mus = [start.clone().requires_grad_() for start in starts]
        sigmas = [spread.clone().requires_grad_(len(spread) != 9) for spread in spreads]
        rows = zip(
            itertools.count(), mus, sigmas, masks, (masks[0], None, *masks[2:]), [*rules, rules[0]], strict=False
        )
        gaussians = [Gaussian(*row) for row in rows]
        for group in groups:
            weights, penalty = draw([gaussians[i] for i in group], 5)
            of_data = [w @ weighting[i] for i, w in zip(group, weights, strict=True) if i != 3]
            sum(of_data, 3 * penalty).backward()
        return [tensor.grad for tensor in (*mus, *sigmas)]

    together, alone = gradients([[0, 1, 2, 3, 4]]), gradients([[0], [1], [2], [3], [4]])
    assert [grad is None for grad in alone] == [False] * 9 + [True]
    for made, expected in zip(together, alone, strict=True):
        assert made is expected or (made is not None and expected is not None and torch.equal(made, expected))


def test_implementations_draw_and_train_the_same_to_rounding(kernels: str) -> None:
    ends = []
    for name in ("reference", kernels):
        choose_kernels(name)
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(5 * 36, 7))
        for tensor in to_bayesian(network):
            nn.init.uniform_(tensor.gaussian.sigma, 0, 0.1)
            tensor.gaussian.assignment.masked_fill_(torch.rand(tensor.mu.shape) < 0.5, 0)
        with sampled(network, LinearRegularizer(0.1)) as penalty:
            (network(torch.ones(3, 2, 8, 8)).square().sum() + penalty).backward()
        ends.append([penalty.detach(), *(parameter.grad for parameter in network.parameters())])
    for made, expected in zip(*ends, strict=True):
        torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)
