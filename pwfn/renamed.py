"""Names that classes had in earlier versions, under which saved configurations and artifacts still call them."""

from __future__ import annotations

from typing import Any

_PLACES = {
    "codebook.AdditivePow2": "pwfn.clustering.codebook.AdditivePow2",
    "codebook.Pow2": "pwfn.clustering.codebook.Pow2",
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
    "folders.OwnFolder": "pwfn.config.output_folders.OwnFolder",
    "logger.Csv": "pwfn.monitoring.loggers.Csv",
    "logger.NoLogger": "pwfn.monitoring.loggers.NoLogger",
    "logger.TensorBoard": "pwfn.monitoring.loggers.TensorBoard",
    "logger.Wandb": "pwfn.monitoring.loggers.Wandb",
    "made_codebook.KMeans": "pwfn.clustering.fitted_codebook.KMeans",
    "made_codebook.Uniform": "pwfn.clustering.fitted_codebook.Uniform",
    "optimizer.Adam": "pwfn.training.optimizer.Adam",
    "optimizer.AdamW": "pwfn.training.optimizer.AdamW",
    "optimizer.SGD": "pwfn.training.optimizer.SGD",
    "prior.Constant": "pwfn.bayesian.prior.Constant",
    "prior.Pow2Distance": "pwfn.bayesian.prior.Pow2Distance",
    "regularizer.Exponential": "pwfn.bayesian.regularizer.Exponential",
    "regularizer.Linear": "pwfn.bayesian.regularizer.Linear",
    "regularizer.LinearOnGrad": "pwfn.bayesian.regularizer.LinearOnGrad",
    "regularizer.NoRegularizer": "pwfn.bayesian.regularizer.NoRegularizer",
    "rules.Greedy": "pwfn.clustering.rules.Greedy",
    "rules.GreedyBits": "pwfn.clustering.rules.GreedyBits",
    "rules.Nearest": "pwfn.clustering.rules.Nearest",
    "schedule.Schedule": "pwfn.run.schedule.Schedule",
    "sigma_join.AllowRetraining": "pwfn.clustering.sigma_join.AllowRetraining",
    "sigma_join.DivideBy10": "pwfn.clustering.sigma_join.DivideBy10",
    "sigma_join.DivideBy2": "pwfn.clustering.sigma_join.DivideBy2",
    "sigma_join.MeanSigma": "pwfn.clustering.sigma_join.MeanSigma",
    "sigma_join.StdMu": "pwfn.clustering.sigma_join.StdMu",
    "tolerance.Constant": "pwfn.clustering.tolerance.Constant",
    "tolerance.Fisher": "pwfn.clustering.tolerance.Fisher",
    "tolerance.Relative": "pwfn.clustering.tolerance.Relative",
    "tolerance.Sigma": "pwfn.clustering.tolerance.Sigma",
}
RENAMED: dict[str, str] = {f"pwfn.{old}": new for old, new in _PLACES.items()}


def with_present_names(node: Any) -> Any:
    """Return a nested plain configuration in which every `_target_` is called as it is today."""
    if isinstance(node, dict):
        return {
            key: RENAMED.get(value, value)
            if key == "_target_" and isinstance(value, str)
            else with_present_names(value)
            for key, value in node.items()
        }
    return [with_present_names(value) for value in node] if isinstance(node, list) else node
