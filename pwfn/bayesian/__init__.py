"""Give each weight a mean and a learned standard deviation, and draw it."""

from pwfn.bayesian.coverage import Coverage, coverage
from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import (
    QuantizedTensor,
    at_mean,
    quantized_tensors,
    sampled,
    set_sigma,
    to_bayesian,
    to_deterministic,
)
from pwfn.bayesian.prior import ConstantPrior, Pow2DistancePrior, Prior
from pwfn.bayesian.regularizer import (
    ExponentialRegularizer,
    LinearOnGradRegularizer,
    LinearRegularizer,
    NoRegularizer,
    Regularizer,
)
from pwfn.bayesian.starting_sigma import GivenSigma, LaplaceSigma, PriorSigma, StartingSigma
from pwfn.bayesian.state_dict import plain_state

__all__ = [
    "FREE",
    "ConstantPrior",
    "Coverage",
    "ExponentialRegularizer",
    "FlatWeights",
    "GivenSigma",
    "LaplaceSigma",
    "LinearOnGradRegularizer",
    "LinearRegularizer",
    "NoRegularizer",
    "Pow2DistancePrior",
    "Prior",
    "PriorSigma",
    "QuantizedTensor",
    "Regularizer",
    "StartingSigma",
    "at_mean",
    "coverage",
    "plain_state",
    "quantized_tensors",
    "sampled",
    "set_sigma",
    "to_bayesian",
    "to_deterministic",
]
