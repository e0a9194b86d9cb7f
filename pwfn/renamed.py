"""Keep the names of earlier versions by which saved configurations and artifacts call classes."""

from __future__ import annotations

from typing import Any

_PLACES = {
    "codebook.AdditivePow2": "pwfn.clustering.AdditivePow2",
    "codebook.Pow2": "pwfn.clustering.Pow2",
    "data.CIFAR10": "pwfn.data.CIFAR10",
    "data.CIFAR100": "pwfn.data.CIFAR100",
    "data.Crop": "pwfn.data.Crop",
    "data.CropFlip": "pwfn.data.CropFlip",
    "data.Digits": "pwfn.data.Digits",
    "data.FashionMNIST": "pwfn.data.FashionMNIST",
    "data.ImageFolder": "pwfn.data.ImageFolder",
    "data.ImageNet": "pwfn.data.ImageNet",
    "data.MNIST": "pwfn.data.MNIST",
    "data.NoAugment": "pwfn.data.NoAugment",
    "data.Synthetic": "pwfn.data.Synthetic",
    "data.TimmAugment": "pwfn.data.TimmAugment",
    "data.TimmData": "pwfn.data.TimmData",
    "folders.OwnFolder": "pwfn.config.OwnFolder",
    "logger.Csv": "pwfn.monitoring.Csv",
    "logger.NoLogger": "pwfn.monitoring.NoLogger",
    "logger.TensorBoard": "pwfn.monitoring.TensorBoard",
    "logger.Wandb": "pwfn.monitoring.Wandb",
    "made_codebook.KMeans": "pwfn.clustering.KMeans",
    "made_codebook.Uniform": "pwfn.clustering.Uniform",
    "optimizer.Adam": "pwfn.training.Adam",
    "optimizer.AdamW": "pwfn.training.AdamW",
    "optimizer.SGD": "pwfn.training.SGD",
    "prior.Constant": "pwfn.bayesian.ConstantPrior",
    "prior.Pow2Distance": "pwfn.bayesian.Pow2DistancePrior",
    "regularizer.Exponential": "pwfn.bayesian.ExponentialRegularizer",
    "regularizer.Linear": "pwfn.bayesian.LinearRegularizer",
    "regularizer.LinearOnGrad": "pwfn.bayesian.LinearOnGradRegularizer",
    "regularizer.NoRegularizer": "pwfn.bayesian.NoRegularizer",
    "rules.Greedy": "pwfn.clustering.Greedy",
    "rules.GreedyBits": "pwfn.clustering.GreedyBits",
    "rules.Nearest": "pwfn.clustering.Nearest",
    "schedule.Schedule": "pwfn.run.Schedule",
    "sigma_join.AllowRetraining": "pwfn.clustering.AllowRetraining",
    "sigma_join.DivideBy10": "pwfn.clustering.DivideBy10",
    "sigma_join.DivideBy2": "pwfn.clustering.DivideBy2",
    "sigma_join.MeanSigma": "pwfn.clustering.MeanSigma",
    "sigma_join.StdMu": "pwfn.clustering.StdMu",
    "tolerance.Constant": "pwfn.clustering.ConstantTolerance",
    "tolerance.Fisher": "pwfn.clustering.FisherTolerance",
    "tolerance.Relative": "pwfn.clustering.RelativeTolerance",
    "tolerance.Sigma": "pwfn.clustering.SigmaTolerance",
}
RENAMED: dict[str, str] = {f"pwfn.{old}": new for old, new in _PLACES.items()}


def with_present_names(node: Any) -> Any:
    """Return a nested configuration in which every `_target_` is called as it is today."""
    if isinstance(node, dict):
        return {
            key: RENAMED.get(value, value)
            if key == "_target_" and isinstance(value, str)
            else with_present_names(value)
            for key, value in node.items()
        }
    return [with_present_names(value) for value in node] if isinstance(node, list) else node
