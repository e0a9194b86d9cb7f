"""A whole network: every weight on a value, what is held where it was, and less loss than rounding at fewer bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pwfn.clustering.second_order import cheapest_first, compensated, damped, nearest_places
from pwfn.curvature import Watched, find_layers, input_moments, output_factors
from pwfn.post_training.cluster_layers import Calibration, Masks
from pwfn.post_training.guard import Measured
from pwfn.post_training.ranks import Ranks
from tests.support.layer_clustering import TABLE, Net, bits_of, clustering, divergence


def test_every_weight_is_a_value_and_better_than_its_nearest(trained: tuple[Net, Tensor]) -> None:
    made, names = clustering(trained, rate=3e-5)
    outcome = made.run()
    weights = made.watched.weights
    assert all(torch.isin(weight.detach().double(), TABLE).all() for weight in weights)
    assert [names[number] for number in outcome.no_layer] == ["scale"]
    assert [names[report.weight] for report in outcome.layers] == ["body.0.weight", "body.2.weight", "head.weight"]
    rounded, _ = clustering(trained)
    with torch.no_grad():
        for weight in rounded.watched.weights:
            weight.copy_(TABLE[nearest_places(TABLE, weight.double())])
    assert bits_of(list(weights)) < 0.8 * bits_of(list(rounded.watched.weights))
    assert divergence(trained, made.watched.network) < 0.01
    finer, _ = clustering(trained, rate=1e-9)
    finer.run()
    assert divergence(trained, finer.watched.network) < divergence(trained, rounded.watched.network)
    assert torch.cat(outcome.stiffness).isinf().sum() == 1


def test_a_higher_rate_gives_fewer_bits(trained: tuple[Net, Tensor]) -> None:
    bits = []
    for rate in (0.0, 1e-5, 1e-3):
        made, _ = clustering(trained, rate=rate)
        made.run()
        bits.append(bits_of(list(made.watched.weights)))
    assert bits[0] > bits[1] > bits[2]


def test_without_compensation_and_price_every_weight_goes_to_its_nearest_value(trained: tuple[Net, Tensor]) -> None:
    made, _ = clustering(trained, rate=0.0, compensation=0.0, guard=False)
    before = [weight.detach().clone() for weight in made.watched.weights]
    made.run()
    for weight, start in zip(made.watched.weights, before, strict=True):
        assert torch.equal(weight.double(), TABLE[nearest_places(TABLE, start.double())])
    with_it, _ = clustering(trained, rate=0.0, guard=False)
    with_it.run()
    assert divergence(trained, with_it.watched.network) < divergence(trained, made.watched.network)


def test_without_output_factors_all_outputs_of_a_layer_count_alike(trained: tuple[Net, Tensor]) -> None:
    each, mean = (clustering(trained, output_factors=wanted, shrink=0.0)[0] for wanted in (True, False))
    layers = find_layers(each.watched.network, each.watched.weights, trained[1][:2])
    factors = output_factors(each.watched, layers, each.calibration.batches)
    for found, averaged in zip(each._squares(layers, factors), mean._squares(layers, factors), strict=True):
        assert found.unique().numel() > 1
        torch.testing.assert_close(averaged, found.mean().expand_as(found))


@pytest.mark.parametrize(("images", "held"), [(2, 1), (5, 1), (10, 2), (40, 8), (70, 8), (256, 32)])
def test_an_eighth_of_the_images_measures_and_of_few_up_to_a_quarter(images: int, held: int) -> None:
    numbers = torch.arange(images).view(images, 1, 1, 1).float()
    made = Calibration.of(numbers, 64)
    assert torch.cat([*made.batches, *made.held_out]).equal(numbers)
    assert sum(map(len, made.held_out)) == held


def test_the_fewer_images_the_less_is_left_off_the_diagonal(trained: tuple[Net, Tensor]) -> None:
    assert clustering(trained)[0].compensation == 224**2 / (224**2 + 200**2)  # one of eight is kept out
    assert clustering(trained, compensation=0.3)[0].compensation == 0.3
    torch.manual_seed(2)
    drawn = torch.randn(2, 5, 40, dtype=torch.float64)
    own, cross = drawn @ drawn.mT, (drawn + 0.1) @ drawn.mT
    diagonal = torch.diag_embed(own.diagonal(dim1=1, dim2=2))
    more = 0.02 * own.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(5, dtype=torch.float64)
    weights = torch.randn(2, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(damped(own, 0.02), own + more)
    torch.testing.assert_close(damped(own, 0.02, 0.0), diagonal + more)
    torch.testing.assert_close(compensated(weights, own, cross, 0.02, 0.0), weights)
    torch.testing.assert_close(compensated(weights, own, cross, 1e-12), weights @ cross @ torch.linalg.inv(own))
    inputs = 0.25 * own + 0.75 * diagonal + more
    expected = weights @ (inputs + 0.25 * (cross - own)) @ torch.linalg.inv(inputs)
    torch.testing.assert_close(compensated(weights, own, cross, 0.02, 0.25), expected)


def test_twice_the_same_is_the_same(trained: tuple[Net, Tensor]) -> None:
    one, other = clustering(trained)[0], clustering(trained)[0]
    assert one.run().layers == other.run().layers
    assert all(torch.equal(a, b) for a, b in zip(one.watched.weights, other.watched.weights, strict=True))


def test_held_weights_stay_and_free_ones_make_good(trained: tuple[Net, Tensor]) -> None:
    torch.manual_seed(1)
    whole, _ = clustering(trained)
    weights = whole.watched.weights
    held = [torch.rand(weight.shape) < 0.2 for weight in weights]
    free = [(torch.rand(weight.shape) < 0.5) & ~h for weight, h in zip(weights, held, strict=True)]
    before = [weight.detach().clone() for weight in weights]
    whole.run(Masks(held, free))
    for weight, start, h, f in zip(weights, before, held, free, strict=True):
        if weight.numel() > 1:
            assert torch.equal(weight[h], start[h])
            assert torch.isin(weight[~h & ~f].double(), TABLE).all()
    assert any(not torch.equal(w[f], s[f]) for w, s, f in zip(weights, before, free, strict=True))


def test_ranks_sum_what_they_have_seen(trained: tuple[Net, Tensor]) -> None:
    network, images = trained
    watched = Watched(network, [p for n, p in network.named_parameters() if "body.3" not in n])
    layers = find_layers(network, watched.weights, images[:2])
    kept: list[Tensor] = []

    def first(tensor: Tensor) -> Tensor:
        kept.append(tensor.clone())
        return tensor

    def second(tensor: Tensor) -> Tensor:
        return tensor + kept.pop(0)

    whole = input_moments(watched, watched, layers, images[:40].split(10))
    input_moments(watched, watched, layers, images[:20].split(10), reduce=first)
    halves = input_moments(watched, watched, layers, images[20:40].split(10), reduce=second)
    assert not kept
    for one, other in zip(whole, halves, strict=True):
        torch.testing.assert_close(one.own, other.own)
        torch.testing.assert_close(one.cross, other.cross)
    output_factors(watched, layers, images[:20].split(10), reduce=first)
    factors = output_factors(watched, layers, images[20:40].split(10), reduce=second)
    assert not kept
    assert all((factor.squares > 0).all() for factor in factors)


def test_a_network_that_is_not_finite_is_an_error(trained: tuple[Net, Tensor]) -> None:
    made, _ = clustering(trained)
    with torch.no_grad():
        made.watched.weights[1][0] = float("nan")  # of the first bias
    with pytest.raises(ValueError, match="the network has weights that are not finite"):
        made.run()
    dark, _ = clustering((trained[0], trained[1] * float("nan")))
    with pytest.raises(ValueError, match="the inputs of a layer are not finite"):
        dark.run()


def test_too_few_images_are_an_error() -> None:
    with pytest.raises(ValueError, match="from two images at least, there are 1"):
        Calibration.of(torch.zeros(1, 1, 8, 8), 4)


def test_the_cheapest_are_fixed_first() -> None:
    costs = torch.tensor([3.0, 1.0, torch.inf, 2.0, 1.0]).double()
    held = torch.tensor([False, False, False, True, False])
    assert cheapest_first(costs, held, 1).tolist() == [False, False, False, True, False]
    assert cheapest_first(costs, held, 3).tolist() == [False, True, False, True, True]
    assert cheapest_first(costs, held, 5).all()


def test_measured_sums_over_ranks(trained: tuple[Net, Tensor]) -> None:
    made, _ = clustering(trained)
    doubled = Ranks(total=lambda tensor: 2 * tensor)
    reference = made.watched
    assert Measured(made.watched, reference, [trained[1][:10]], doubled).images == 20
