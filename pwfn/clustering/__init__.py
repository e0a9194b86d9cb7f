"""Move weights onto a codebook that the whole network shares, round by round."""

from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.codebooks.codebook import AdditivePow2, Codebook, Pow2, SignedPow2, Values
from pwfn.clustering.codebooks.fitted_codebook import KMeans, Uniform
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.clustering.rounds.nearest_round import nearest_round
from pwfn.clustering.rules import Greedy, GreedyBits, Nearest, Rule
from pwfn.clustering.second_order import SecondOrder
from pwfn.clustering.sigma_join import AllowRetraining, DivideBy2, DivideBy10, Keep, MeanSigma, SigmaJoin, StdMu
from pwfn.clustering.statistics import entropy_bits
from pwfn.clustering.tolerance import (
    ConstantTolerance,
    FisherTolerance,
    KroneckerTolerance,
    RelativeTolerance,
    SigmaTolerance,
    Tolerance,
)

__all__ = [
    "AdditivePow2",
    "AllowRetraining",
    "ClusterResult",
    "Codebook",
    "ConstantTolerance",
    "DivideBy2",
    "DivideBy10",
    "FisherTolerance",
    "Greedy",
    "GreedyBits",
    "KMeans",
    "Keep",
    "KroneckerTolerance",
    "MeanSigma",
    "Nearest",
    "Pow2",
    "RelativeTolerance",
    "Rule",
    "SecondOrder",
    "SigmaJoin",
    "SigmaTolerance",
    "SignedPow2",
    "StdMu",
    "Tolerance",
    "Uniform",
    "Values",
    "cluster_round",
    "entropy_bits",
    "nearest_round",
]
