"""Compress a network that is trained already, without training it again."""

from pwfn.post_training.budget import Budget, BudgetNotMet, Trial, find_rate
from pwfn.post_training.cluster_layers import Calibration, LayerClustering, LayerReport, Outcome
from pwfn.post_training.compress import CompressionReceipt, compress

__all__ = [
    "Budget",
    "BudgetNotMet",
    "Calibration",
    "CompressionReceipt",
    "LayerClustering",
    "LayerReport",
    "Outcome",
    "Trial",
    "compress",
    "find_rate",
]
