"""Compress a network that is trained already, without training it again."""

from pwfn.post_training.cluster_layers import Calibration, LayerClustering, LayerReport, Outcome

__all__ = ["Calibration", "LayerClustering", "LayerReport", "Outcome"]
