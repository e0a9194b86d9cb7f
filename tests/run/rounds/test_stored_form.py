"""The network of a run in the form of its artifact: its last figures are measured then."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pwfn.artifact.parts import plain_tensors
from pwfn.artifact.plain_form import PlainForm, stored_plain
from pwfn.bayesian.posterior import to_bayesian
from pwfn.errors import RunError
from pwfn.records.rounds import Scores
from pwfn.run.rounds.stored_form import StoredForm
from pwfn.training.signals import StopNow
from tests.support.clustered import same_bits
from tests.support.runs.fake_loop import FakeRunner

BEFORE = (Scores(50.0, 90.0, 1.0), Scores(52.0, 91.0, 0.9))
AFTER = (Scores(49.0, 89.0, 1.1), Scores(51.0, 90.0, 1.0))


class Examined(FakeRunner):
    """Counts as tested what `test` does; validation comes after it."""

    def __init__(self, test: Callable[[], Scores]) -> None:
        super().__init__(nn.Identity())
        self.test = test

    def validate(self) -> Scores | None:
        return AFTER[1]


def never() -> Scores:
    raise AssertionError


def network(*, norm: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4) if norm else nn.LayerNorm(4), nn.Linear(4, 3))
    if norm:
        layers[1].running_mean.normal_()
        layers[1].running_var.uniform_(0.5, 2)
    to_bayesian(layers)
    return layers.eval()


def copied(of: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in of.state_dict().items()}


@pytest.mark.parametrize("form", ["float16", "folded", "folded_float16"])
def test_the_scores_are_those_of_the_changed_network(form: PlainForm) -> None:
    model, seen, lines = network(), [], []
    wanted = {names[0]: tensor.float() for names, tensor in stored_plain(*plain_tensors(model), form).loaded()}
    before = copied(model)

    def test() -> Scores:
        seen.append(copied(model))
        return AFTER[0]

    stored = StoredForm(form, model, Examined(test), lines.append, last=0)
    assert stored.measured(BEFORE) == AFTER
    assert stored.measured(AFTER) == AFTER
    assert len(seen) == len(lines) == 1
    assert {n for n in wanted if not same_bits(wanted[n], seen[0][n].float())} == set()
    assert {n for n in before if not same_bits(before[n], seen[0][n])} <= wanted.keys()
    assert lines[0].startswith(f"artifact.plain={form}: ")
    assert "test top1 50.00 -> 49.00 %" in lines[0]


def test_exact_changes_and_tests_nothing() -> None:
    assert StoredForm("exact", network(), Examined(never), pytest.fail, last=0).measured(BEFORE) == BEFORE


def test_a_stop_while_it_is_tested_leaves_the_network_as_it_was() -> None:
    model = network()
    before = copied(model)

    def test() -> Scores:
        raise StopNow(signal.SIGTERM)

    with pytest.raises(StopNow):
        StoredForm("folded_float16", model, Examined(test), pytest.fail, last=0).measured(BEFORE)
    after = model.state_dict()
    assert [name for name in before if not same_bits(before[name], after[name])] == []


def test_a_form_that_the_network_cannot_have_is_refused_at_once() -> None:
    model = network(norm=False)
    for form in ("exact", "float16"):
        StoredForm(form, model, Examined(never), pytest.fail, last=0).check()
    with pytest.raises(RunError, match=r"artifact\.plain = 'folded': the network has no BatchNorm"):
        StoredForm("folded", model, Examined(never), pytest.fail, last=0).check()


def test_only_the_last_round_is_brought_into_the_form() -> None:
    model = network()
    stored = StoredForm("folded", model, Examined(lambda: AFTER[0]), lambda _: None, last=2)
    assert [stored.after_round(index, BEFORE) for index in range(3)] == [BEFORE, BEFORE, AFTER]
