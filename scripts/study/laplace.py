"""Measure ensembles of a clustered network with several sigmas, on its validation or its test images.

    python scripts/study/laplace.py multirun/<date>/<time>/<job> pow2_distance 0.01 0.02/1 0.02/100
    python scripts/study/laplace.py multirun/<date>/<time>/<job> --split test --samples 20 0.02/100

The run has to have kept its networks (`keep=all`). A setting is a prior, or a prior and a factor: 0.02 is
`prior=constant prior.sigma=0.02`; 0.02/100 is `sigma=laplace` with it and a `sigma.count` of 100 times the images.
Shown are accuracy, NLL and ECE of the mean network and of an ensemble of draws.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.bayesian.prior import ConstantPrior, Pow2DistancePrior
from pwfn.bayesian.starting_sigma import laplace_sigma
from pwfn.config import resolvers
from pwfn.config.build import load
from pwfn.curvature import Watched, kronecker_diagonals
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.metrics import judge, summary
from pwfn.evaluation.predict import LabeledImages, Prediction, predict, predict_draws
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.models.precision import Computing
from scripts.study.collect import PROJECT

IMAGES, BATCH, BINS = 1024, 64, 15
ON = Computing(torch.device("cpu"), "32-true")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("settings", nargs="+")
    parser.add_argument("--split", choices=["val", "test"], default="val")
    parser.add_argument("--samples", type=int, default=10)
    args = parser.parse_args()
    resolvers.register()
    with initialize_config_dir(str(PROJECT / "conf"), version_base=None):
        subject = subject_of(load(EvaluateSettings, compose("evaluate", [f"run='{args.folder}'"])))
    data = subject.data
    data.setup("fit")
    images = LabeledImages(data.val_dataloader() if args.split == "val" else data.test_dataloader())
    network, labels = subject.networks["clustered"](), torch.cat(images.labels)
    show("mean", predict(network, images, ON), labels)
    pretrained = subject.networks["pretrained"]()
    squared = curvature(pretrained, data.calibration_images(IMAGES))
    for setting in args.settings:
        set_sigmas(network, pretrained, squared, setting, data.count("train") or 0)
        _, ensemble = predict_draws(network, images, ON, samples=args.samples, seed=0)
        show(setting, ensemble, labels)


def curvature(network: nn.Module, images: Tensor) -> list[Tensor | None]:
    """Estimate the squared gradient of each weight of the pretrained network."""
    watched = Watched(network, [tensor.mu for tensor in quantized_tensors(network)])
    return kronecker_diagonals(watched, images.split(BATCH))


def set_sigmas(
    network: nn.Module, pretrained: nn.Module, squared: list[Tensor | None], setting: str, count: int
) -> None:
    """Give the clustered network the sigmas that the pretrained one would have had by a setting."""
    name, _, factor = setting.partition("/")
    prior = Pow2DistancePrior() if name == "pow2_distance" else ConstantPrior(float(name))
    with torch.no_grad():
        for tensor, before, felt in zip(
            quantized_tensors(network), quantized_tensors(pretrained), squared, strict=True
        ):
            sigma = prior(before.mu)
            if factor and felt is not None:
                sigma = laplace_sigma(felt.view_as(sigma), float(factor) * count, sigma)
            tensor.gaussian.sigma.copy_(sigma)


def show(name: str, prediction: Prediction, labels: Tensor) -> None:
    """Print the figures of one prediction."""
    figures = summary(judge(prediction, labels), BINS)
    print(f"{name:20}" + "  ".join(f"{key} {figures[key]:.4f}" for key in ("top1", "nll", "ece")), flush=True)


if __name__ == "__main__":
    main()
