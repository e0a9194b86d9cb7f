"""A batch normalization behind a layer: which one it is, how it scales outputs, and the shift that it can take."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pwfn.clustering import AdditivePow2, SecondOrder
from pwfn.curvature import Watched, find_layers, input_moments
from pwfn.curvature.output_factors import mean_factor, shrunk
from pwfn.post_training import Calibration, LayerClustering
from pwfn.post_training.network_layers import LayerMatrix, put_back, running_means

TABLE = AdditivePow2(4, 2).candidates(2, 4.0)


class Net(nn.Module):
    """Convolutions before a norm (without and with a bias), before none, and one whose norm sees a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.biased, self.biased_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, eps=0.01)
        self.summed, self.sum_norm = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.plain_norm = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
        self.before_plain = nn.Conv2d(4, 4, 1, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_norm(self.first(x)).relu()
        x = self.biased_norm(self.biased(x)).relu()
        x = self.sum_norm(self.summed(x) + x)
        x = self.plain_norm(self.before_plain(x))
        return self.head(x.mean((2, 3)))


def network() -> Net:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for norm in (net.first_norm, net.biased_norm, net.sum_norm):
            norm.weight.uniform_(0.2, 3)
            norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            norm.running_var.uniform_(0.1, 2)  # type: ignore[union-attr]
    return net.eval()


def watched_of(net: nn.Module) -> tuple[Watched, list[str]]:
    names = [name for name, _ in net.named_parameters() if "norm" not in name and "of_" not in name]
    parameters = dict(net.named_parameters())
    return Watched(net, [parameters[name] for name in names]), names


IMAGES = torch.randn(40, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def test_the_norm_of_a_layer_is_the_one_that_its_outputs_go_into() -> None:
    net = network()
    watched, names = watched_of(net)
    layers = {names[layer.weight]: layer for layer in find_layers(net, watched.weights, IMAGES[:2])}
    first, biased = layers["first.weight"], layers["biased.weight"]
    assert first.norm is not None
    assert biased.norm is not None
    assert first.norm.mean is net.first_norm.running_mean
    expected = net.biased_norm.weight / (net.biased_norm.running_var + 0.01).sqrt()  # type: ignore[operator]
    torch.testing.assert_close(biased.norm.gain, expected.detach().double())
    assert [layers[name].norm for name in ("summed.weight", "before_plain.weight", "head.weight")] == [None] * 3
    assert [(layer.shifts, layer.has_ones, layer.columns) for layer in (first, biased, layers["summed.weight"])] == [
        (True, True, 19),
        (False, True, 5),
        (False, False, 4),
    ]
    (moments,) = input_moments(watched, watched, [first], [IMAGES])
    assert moments.own[0, -1, -1].item() == pytest.approx(16)  # 4 x 4 positions, each with a 1


def test_factors_are_shrunk_towards_equal_outputs_of_the_norm() -> None:
    factor = torch.tensor([[8.0, 2.0, 1.0]], dtype=torch.float64)
    gain = torch.tensor([2.0, -1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(mean_factor(factor), torch.full((1, 3), 11 / 3, dtype=torch.float64))
    torch.testing.assert_close(mean_factor(factor, gain), 11 / 6 * torch.tensor([[4.0, 1.0, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(shrunk(factor, 30, 10.0, gain), 0.75 * factor + 0.25 * mean_factor(factor, gain))
    torch.testing.assert_close(shrunk(factor, 30, 0.0, gain), factor)
    dead = mean_factor(torch.zeros(1, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    assert dead.tolist() == [[0.0, 0.0, 0.0]]


def test_a_shift_is_taken_from_the_running_mean() -> None:
    net = network()
    watched, names = watched_of(net)
    layer = find_layers(net, watched.weights, IMAGES[:2])[0]
    with torch.no_grad():
        expected = net(IMAGES)
        before, means = net.first_norm.running_mean.clone(), running_means(net)  # type: ignore[union-attr]
        at = LayerMatrix(layer, watched.weights)
        matrix = at.matrix_of(watched.weights)
        assert matrix.shape == (1, 4, 19)
        assert not matrix[:, :, -1].any()
        free = at.free(None)
        assert free is not None
        assert free[:, :, -1].all()
        assert not free[:, :, :-1].any()
        matrix[:, :, -1] = torch.tensor([0.5, 0.0, -1.0, 2.0])
        for _ in range(2):  # from what it was, however often
            at.write(matrix)
        assert net.first_norm.running_mean.tolist() == pytest.approx(  # type: ignore[union-attr]
            (before - torch.tensor([0.5, 0.0, -1.0, 2.0])).tolist()
        )
        biased = copy.deepcopy(net)
        biased.first.bias = nn.Parameter(matrix[0, :, -1].clone())
        put_back(net, means)
        biased.first_norm.running_mean.copy_(before)  # type: ignore[union-attr]
        shifted = network()
        shifted.first_norm.running_mean.copy_(before - matrix[0, :, -1])  # type: ignore[union-attr]
        torch.testing.assert_close(biased(IMAGES), shifted(IMAGES))
        assert torch.equal(net(IMAGES), expected)
    assert names[layer.weight] == "first.weight"


def test_clustering_makes_good_with_the_mean_what_values_cannot() -> None:
    net = network()
    watched, _ = watched_of(net)
    reference = copy.deepcopy(net)
    rule = SecondOrder(rate=3e-3, images=40, guard=False, compensation=1.0)
    LayerClustering(watched, [TABLE] * len(watched.weights), rule, Calibration.of(IMAGES, 20)).run()
    assert torch.isin(net.first.weight.detach().double(), TABLE).all()
    assert not torch.equal(net.first_norm.running_mean, reference.first_norm.running_mean)  # type: ignore[arg-type]
    assert torch.equal(net.biased_norm.running_mean, reference.biased_norm.running_mean)  # type: ignore[arg-type]

    def off(kept_mean: bool) -> float:
        """How far the mean of the first norm's output is from the reference's."""
        with torch.no_grad():
            norm = reference.first_norm if kept_mean else net.first_norm
            moved = norm(net.first(IMAGES[:32])) - reference.first_norm(reference.first(IMAGES[:32]))
        return float(moved.mean((0, 2, 3)).square().sum())

    assert off(kept_mean=False) < 0.01 * off(kept_mean=True)


class Odd(nn.Module):
    """Layers whose norm is not theirs alone: one norm of two layers, and norms of what was changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.of_both = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.cut, self.of_cut = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.added, self.of_added = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.of_both(self.two(self.of_both(self.one(x))))
        x = self.of_cut(nn.functional.relu(self.cut(x), inplace=True))
        y = self.added(x)
        y += x
        return self.of_added(y).mean((2, 3))


def test_a_norm_of_several_layers_or_of_changed_outputs_belongs_to_none() -> None:
    net = Odd().eval()
    watched, names = watched_of(net)
    layers = find_layers(net, watched.weights, IMAGES[:2])
    assert [names[layer.weight] for layer in layers] == ["one.weight", "two.weight", "cut.weight", "added.weight"]
    assert [layer.norm for layer in layers] == [None] * 4
