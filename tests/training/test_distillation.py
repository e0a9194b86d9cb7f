"""Learning from the pretrained network: the loss by hand, and a teacher that leaves no trace."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.bayesian.posterior import set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior
from pwfn.bayesian.regularizer import NoRegularizer
from pwfn.config import build
from pwfn.config.build import ConfigError
from pwfn.errors import InvalidValueError
from pwfn.run.settings import TrainSettings
from pwfn.training.distillation import Distillation, Teacher
from pwfn.training.module import BayesianClassifier
from pwfn.training.optimizer import SGD
from pwfn.training.phase import Phase, TrainingDiverged
from tests.support.project import Compose

SCORES = [[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]]
ANSWERS = [[0.2, 0.1, -4.0], [2.0, 2.5, 2.0]]


def softmax(scores: list[float], temperature: float) -> list[float]:
    powers = [math.exp(score / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


def by_hand(scores: list[list[float]], answers: list[list[float]], temperature: float) -> float:
    total = 0.0
    for mine, theirs in zip(scores, answers, strict=True):
        p, q = softmax(theirs, temperature), softmax(mine, temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(scores)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_divergence_is_the_one_counted_by_hand(temperature: float) -> None:
    spec = Distillation(0.3, temperature)
    made = spec.divergence(torch.tensor(SCORES), torch.tensor(ANSWERS))
    assert made.item() == pytest.approx(by_hand(SCORES, ANSWERS, temperature), rel=1e-5)
    assert spec.divergence(torch.tensor(SCORES), torch.tensor(SCORES) + 7).item() == pytest.approx(0, abs=1e-5)
    assert spec.mixed(torch.tensor(2.0), torch.tensor(10.0)).item() == pytest.approx(0.7 * 2 + 0.3 * 10)


def test_half_precision_is_computed_in_float32() -> None:
    spec = Distillation(0.3, 4.0)
    made = spec.divergence(torch.tensor(SCORES).bfloat16(), torch.tensor(ANSWERS).bfloat16())
    assert made.dtype == torch.float32
    assert made.item() == pytest.approx(by_hand(SCORES, ANSWERS, 4.0), rel=0.02)


@pytest.mark.parametrize(
    ("weight", "temperature"), [(-0.1, 1.0), (1.1, 1.0), (math.nan, 1.0), (0.5, 0.0), (0.5, math.inf)]
)
def test_values_out_of_range_are_refused(weight: float, temperature: float) -> None:
    with pytest.raises(InvalidValueError, match="must be"):
        Distillation(weight, temperature)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(3))


def test_a_teacher_is_the_network_of_its_weights_and_draws_nothing(images: Tensor) -> None:
    original = plain()
    original[2].running_mean.normal_()
    stream = torch.get_rng_state()
    teacher = Teacher(plain, original.state_dict())
    answers = teacher(images)
    assert torch.equal(stream, torch.get_rng_state())
    assert torch.equal(answers, original.eval()(images))
    assert not answers.requires_grad
    with torch.no_grad():
        original[1].weight.zero_()  # it has weights of its own
    assert torch.equal(answers, teacher(images))
    floats = 9 * 6 + 6 + 4 * 6 + 6 * 3 + 3
    assert teacher.bytes == 4 * floats + 8


def module(weight: float | None) -> BayesianClassifier:
    torch.manual_seed(0)
    network = plain()
    state = {name: 2 * value for name, value in network.state_dict().items()}
    to_bayesian(network)
    set_sigma(network, ConstantPrior(1e-3))
    spec = None if weight is None else Distillation(weight, 2.0)
    made = BayesianClassifier(network, NoRegularizer(), distillation=spec)
    if weight is not None:
        made.teacher = Teacher(plain, state)
    made.begin(Phase("phase", 1, SGD(), noise=False, train_sigma=False))
    made.log_dict = lambda *_: None  # type: ignore[method-assign, assignment]
    return made.eval()


def test_the_loss_of_a_step_is_the_mixture_and_nothing_of_the_teacher_is_in_the_state(images: Tensor) -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    without = module(None)
    expected = F.cross_entropy(without.network(images), labels)
    assert torch.equal(without.training_step((images, labels), 0)["loss"], expected)
    for weight in (0.25, 1.0):
        made = module(weight)
        assert made.teacher is not None
        assert made.distillation is not None
        divergence = made.distillation.divergence(made.network(images), made.teacher(images))
        step = made.training_step((images, labels), 0)
        assert step["loss"].item() == pytest.approx(((1 - weight) * expected + weight * divergence).item(), rel=1e-6)
        assert step["distillation"].item() == pytest.approx(divergence.item(), rel=1e-6)
        assert divergence > 0.01
        step["loss"].backward()
        assert made.network[1].parametrizations.weight.original.grad.abs().sum() > 0
        assert made.state_dict().keys() == without.state_dict().keys()
        assert len(list(made.parameters())) == len(list(without.parameters()))


def test_a_teacher_that_answers_no_numbers_ends_the_run_in_one_line(images: Tensor) -> None:
    made = module(0.5)
    assert made.teacher is not None
    with torch.no_grad():
        made.teacher._network[1].weight.fill_(math.nan)
    with pytest.raises(TrainingDiverged, match=r"the loss is nan in phase, .*distillation nan\)"):
        made.training_step((images, torch.zeros(8, dtype=torch.int64)), 0)


def test_random_weights_cannot_teach(composed: Compose) -> None:
    overrides = ("distillation=pretrained", "pretrain=none")
    with pytest.raises(ConfigError, match=r"distillation\.weight = 0\.5: must be 0 where model starts from random"):
        build.load(TrainSettings, composed(*overrides))
    for more in ("pretrain.epochs=1", "dry_run=true", "model.pretrained=true"):
        assert build.load(TrainSettings, composed(*overrides, more)).distillation.weight == 0.5
