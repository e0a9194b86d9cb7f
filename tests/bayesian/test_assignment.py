"""Assignments stay on the CPU, and travel with the state dict as a buffer would."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from pwfn.bayesian import gaussian_weight
from pwfn.bayesian.gaussian_weight import FREE, GaussianWeight, Masks
from pwfn.bayesian.operators import draw_in_graph
from pwfn.bayesian.posterior import quantized_tensors, to_bayesian

KEY = "parametrizations.weight.0.assignment"


def network(*fixed: int) -> nn.Linear:
    """Build a layer whose first weights are fixed to these entries."""
    model = nn.Linear(4, 3)
    weight, _ = to_bayesian(model)
    weight.gaussian.assignment.view(-1)[: len(fixed)] = torch.tensor(fixed, dtype=torch.int32)
    return model


def gaussian(model: nn.Module) -> GaussianWeight:
    return quantized_tensors(model)[0].gaussian


def test_a_device_holds_the_means_and_sigmas_alone() -> None:
    model = network(7, 3)
    count = sum(tensor.mu.numel() for tensor in quantized_tensors(model))
    flags = len(quantized_tensors(model))
    model.to("meta")
    moved = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_meta]
    assert sum(tensor.numel() * tensor.element_size() for tensor in moved) == 2 * 4 * count + flags
    assert gaussian(model).assignment.device.type == "cpu"
    assert gaussian(model).assignment.view(-1)[:3].tolist() == [7, 3, FREE]


def test_a_state_dict_makes_the_round_trip() -> None:
    model, other = network(7, 3), network()
    state = model.state_dict()
    assert state[KEY] is gaussian(model).assignment
    keys = list(state)
    version = gaussian(other).assignment._version
    assert other.load_state_dict(state) == ([], [])
    assert list(state) == keys
    assert gaussian(other).assignment._version > version  # or masks read before would stay
    assert torch.equal(gaussian(other).assignment, gaussian(model).assignment)
    assert gaussian(other).assignment is not gaussian(model).assignment


def test_a_state_dict_can_be_taken_over() -> None:
    state, other = network(7, 3).state_dict(), network()
    other.load_state_dict(state, assign=True)
    assert gaussian(other).assignment is state[KEY]


def test_a_copy_has_assignments_of_its_own() -> None:
    model = network(7)
    copied = deepcopy(model)
    gaussian(copied).assignment.fill_(5)
    assert gaussian(model).assignment.view(-1)[:2].tolist() == [7, FREE]
    assert copied.state_dict()[KEY].unique().tolist() == [5]
    copied.load_state_dict(model.state_dict())
    assert gaussian(copied).assignment.view(-1)[:2].tolist() == [7, FREE]


@pytest.mark.parametrize("copied", [deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_has_masks_of_its_own(copied: Callable[[GaussianWeight], GaussianWeight]) -> None:
    original = gaussian(network(7))
    assert original.masks.mu is not None
    original.assignment.fill_(FREE)  # not read yet when the copy is made, whose changes are counted anew
    copy = copied(original)
    assert copy.masks.mu is None
    copy.assignment.fill_(3)
    assert copy.flat_assignment.tolist() == 12 * [3]
    assert copy.flat_assignment._version == copy.assignment._version
    assert original.flat_assignment.tolist() == 12 * [FREE]


def test_a_network_built_without_memory_gets_assignments_with_its_memory() -> None:
    with torch.device("meta"):
        model = network()
    assert gaussian(model).assignment.is_meta
    model.to_empty(device="cpu")
    assert gaussian(model).assignment.unique().tolist() == [FREE]
    model.load_state_dict(network(7, 3).state_dict())
    assert gaussian(model).flat_assignment[:3].tolist() == [7, 3, FREE]


def test_operators_of_the_compiler_leave_no_mask_on_a_device_that_a_network_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def read(*given: Any) -> Masks:
        masks = Masks(torch.ones(3, 4, dtype=torch.bool), None)
        made.append(weakref.ref(masks.mu))
        return masks

    monkeypatch.setattr(gaussian_weight.Masks, "read", read)
    model = network(7)
    (weight, _) = quantized_tensors(model)
    for _ in range(2):
        draw_in_graph([weight.mu.detach()], [weight.gaussian], [(0.1, 1.0)])
    (mask,) = made
    assert mask() is not None
    model.to("meta")
    gc.collect()
    assert mask() is None


@pytest.mark.parametrize("given", [torch.zeros(3, dtype=torch.int32), None])
def test_a_wrong_entry_is_refused(given: Any) -> None:
    state = network().state_dict()
    state[KEY] = given
    with pytest.raises(RuntimeError, match=KEY):
        network().load_state_dict(state)


def test_a_missing_entry_is_refused_unless_that_is_allowed() -> None:
    state, other = network().state_dict(), network(7)
    del state[KEY]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{KEY}"'):
        other.load_state_dict(state)
    other.load_state_dict(state, strict=False)
    assert gaussian(other).assignment.view(-1)[:2].tolist() == [7, FREE]


def test_masks_lie_as_the_sigmas_do() -> None:
    model = nn.Conv2d(4, 6, 3)
    weight, _ = to_bayesian(model)
    weight.gaussian.assignment[:, 0] = 2
    model.to(memory_format=torch.channels_last)
    mask = weight.gaussian.masks.mu
    assert mask is not None
    assert mask.stride() == weight.gaussian.sigma.stride()
    assert torch.equal(mask, weight.gaussian.assignment == FREE)
