"""The compiler sees a whole network behind a draw, or a whole step around it, and the next draw needs no other code."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from pwfn.bayesian.gaussian_weight import Masks
from pwfn.bayesian.posterior import quantized_tensors, sampled, set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior
from pwfn.bayesian.regularizer import ExponentialRegularizer, LinearRegularizer, Regularizer
from tests.support.kernels import IMPLEMENTATIONS, implementation

RULE = LinearRegularizer(0.1)


def bayesian(name: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, num_classes=5)
    to_bayesian(network)
    set_sigma(network, ConstantPrior(1e-2))
    return network.eval()


def ends(network: nn.Module, computed: Any, images: Tensor, seed: int) -> list[Tensor]:
    """The logits and every gradient of one draw."""
    network.zero_grad()
    torch.manual_seed(seed)
    with sampled(network, RULE) as penalty:
        logits: Tensor = computed(images)
        (logits.square().sum() + penalty).backward()
    tensors = quantized_tensors(network)
    return [logits.detach(), *(one.grad.clone() for t in tensors for one in (t.mu, t.gaussian.sigma))]  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_draw_breaks_no_graph() -> None:
    graphs = list[Any]()

    def keep(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    network, images = bayesian("test_resnet"), torch.randn(2, 3, 32, 32)
    compiled = torch.compile(network, fullgraph=True, backend=keep)  # an error at a break
    first = ends(network, compiled, images, 1)
    second = ends(network, compiled, images, 2)
    assert len(graphs) == 1
    assert not torch.equal(first[0], second[0])
    for made, seed in ((first, 1), (second, 2)):
        torch.testing.assert_close(made, ends(network, network, images, seed))


def mixed_network() -> nn.Module:
    """A network with convolutions of both layouts, biases, fixed and free weights and sigmas that retrain."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(20, 3))
    network[1].to(memory_format=torch.channels_last)
    to_bayesian(network)
    set_sigma(network, ConstantPrior(1e-2))
    for number, tensor in enumerate(quantized_tensors(network)):
        tensor.gaussian.assignment.masked_fill_(torch.rand(tensor.mu.shape) < 0.5, 0)
        tensor.gaussian.retrain_sigma.fill_(number == 2)
    return network


class Loss(nn.Module):
    """One's own step up to its loss, the draw inside."""

    def __init__(self, network: nn.Module, rule: Regularizer) -> None:
        super().__init__()
        self.network, self.rule = network, rule

    def forward(self, images: Tensor) -> Tensor:
        with sampled(self.network, self.rule) as penalty:
            return self.network(images).square().sum() + penalty


def step(loss: Any, network: nn.Module, images: Tensor, seed: int) -> list[Tensor]:
    network.zero_grad()
    torch.manual_seed(seed)
    value: Tensor = loss(images)
    value.backward()
    tensors = quantized_tensors(network)
    return [value.detach(), *(one.grad.clone() for t in tensors for one in (t.mu, t.gaussian.sigma))]  # type: ignore[union-attr]


def follows(compiled: Any, loss: Loss, images: Tensor) -> None:
    """Compare compiled steps with others, also after a change of what is fixed."""
    network, seen = loss.network, list[Tensor]()
    for seed in (1, 2):
        made = step(compiled, network, images, seed)
        torch.testing.assert_close(made, step(loss, network, images, seed))
        seen.append(made[0])
    assert seen[0] != seen[1]
    for tensor in quantized_tensors(network):
        tensor.gaussian.assignment.fill_(0)
    made = step(compiled, network, images, 1)
    torch.testing.assert_close(made, step(loss, network, images, 1))
    sigmas = made[2::2]  # each after its mean
    assert [bool(grad.any()) for grad in sigmas] == [number == 2 for number in range(len(sigmas))]


@pytest.fixture(params=IMPLEMENTATIONS)
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    implementation(request.param)
    monkeypatch.setattr("pwfn.bayesian.kernels.choice._chosen", request.param)


@pytest.mark.slow
@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_step_that_draws_inside_is_one_graph(backend: str) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    network, images = mixed_network(), torch.randn(2, 3, 6, 6)
    loss = Loss(network, RULE)
    follows(torch.compile(loss, backend=backend, fullgraph=True), loss, images)  # an error at a break
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
def test_compiled_steps_read_masks_only_when_assignments_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    network, images = mixed_network(), torch.randn(2, 3, 6, 6)
    compiled = torch.compile(Loss(network, RULE), fullgraph=True)
    step(compiled, network, images, 1)
    reads = list[Tensor]()

    def read(assignment: Tensor, *given: Tensor) -> Masks:
        reads.append(assignment)
        return original(assignment, *given)

    original = Masks.read
    monkeypatch.setattr(Masks, "read", read)
    step(compiled, network, images, 2)
    assert reads == []
    changed = quantized_tensors(network)[0].gaussian
    changed.assignment.fill_(0)
    step(compiled, network, images, 3)
    assert len(reads) == 1
    assert reads[0] is changed.flat_assignment


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("chosen")
def test_a_regularizer_that_no_kernel_knows_breaks_the_graph_and_is_not_traced() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    network, images = mixed_network(), torch.randn(2, 3, 6, 6)
    loss = Loss(network, ExponentialRegularizer(0.1))
    follows(torch.compile(loss, backend="aot_eager"), loss, images)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 1  # of the network: none of the draw


@pytest.mark.slow
@pytest.mark.usefixtures("chosen")
def test_operators_keep_to_what_torch_asks_of_them() -> None:
    tensors = quantized_tensors(mixed_network())
    count = len(tensors)
    given = [t.mu for t in tensors], [t.gaussian.sigma for t in tensors], [t.gaussian.flat_assignment for t in tensors]
    kept = [t.gaussian.retrain_sigma for t in tensors], torch.tensor(-5), [0.1] * count, [1.0] * count
    torch.library.opcheck(torch.ops.pwfn.draw.default, (*given, *kept))
    grads, scale = [torch.randn_like(t.mu) for t in tensors], torch.tensor(2.0)
    sigmas = [t.gaussian.sigma.detach() for t in tensors]
    torch.library.opcheck(torch.ops.pwfn.sigma_gradients.default, (grads, scale, sigmas, given[2], *kept))
    assert torch.library.opcheck(torch.ops.pwfn.random_word.default, (), test_utils="test_schema") == {
        "test_schema": "SUCCESS"
    }


def test_the_compiler_is_told_how_a_draw_may_be_treated() -> None:
    """No two words are one, and no CUDA graph records a key."""
    ops = torch.ops.pwfn
    assert torch.Tag.nondeterministic_seeded in ops.random_word.default.tags
    for operator in (ops.draw, ops.sigma_gradients):
        assert torch.Tag.cudagraph_unsafe in operator.default.tags
