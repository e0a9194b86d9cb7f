"""Choose sigma of an ensemble of a clustered network on its validation images.

    python scripts/study/laplace.py multirun/<date>/<time>/<job> --prior 0.01 0.05 --share 0.1 1

The run has to have kept its networks (`keep=all`). Tried are every prior alone (`prior=constant prior.sigma=...`) and
every Laplace approximation with that prior and that share of the training images (`sigma=laplace sigma.count=...`):
accuracy, NLL and ECE of the mean network and of an ensemble of draws.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pwfn.bayesian.posterior import quantized_tensors
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


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prior", type=float, nargs="+", required=True, help="sigmas before any image was seen")
    parser.add_argument("--share", type=float, nargs="+", default=[1.0], help="of the training images")
    parser.add_argument("--samples", type=int, default=10)
    args = parser.parse_args()
    resolvers.register()
    with initialize_config_dir(str(PROJECT / "conf"), version_base=None):
        subject = subject_of(load(EvaluateSettings, compose("evaluate", [f"run='{args.folder}'"])))
    subject.data.prepare_data()
    subject.data.setup("fit")
    images, on = LabeledImages(subject.data.val_dataloader()), Computing(torch.device("cpu"), "32-true")
    network, labels = subject.networks["clustered"](), torch.cat(images.labels)
    show("mean", predict(network, images, on), labels)
    squared = curvature(subject.networks["pretrained"](), subject.data.calibration_images(IMAGES))
    for name in sigmas(network, squared, subject.data.count("train") or 0, args.prior, args.share):
        _, ensemble = predict_draws(network, images, on, samples=args.samples, seed=0)
        show(name, ensemble, labels)


def curvature(network: nn.Module, images: Tensor) -> list[Tensor | None]:
    """Estimate the squared gradient of each weight of the pretrained network."""
    watched = Watched(network, [tensor.mu for tensor in quantized_tensors(network)])
    return kronecker_diagonals(watched, images.split(BATCH))


def sigmas(
    network: nn.Module, squared: list[Tensor | None], count: int, priors: list[float], shares: list[float]
) -> Iterator[str]:
    """Set the network's sigmas to one setting after the other, and yield its name."""
    for prior in priors:
        for share in (0.0, *shares):
            for tensor, felt in zip(quantized_tensors(network), squared, strict=True):
                sigma = tensor.gaussian.sigma.detach().fill_(prior)
                if felt is not None and share:
                    sigma.copy_(laplace_sigma(felt.view_as(sigma), share * count, sigma))
            yield f"prior.sigma={prior:g}" + (f" sigma=laplace sigma.count={share * count:g}" if share else "")


def show(name: str, prediction: Prediction, labels: Tensor) -> None:
    """Print the figures of one prediction."""
    figures = summary(judge(prediction, labels), BINS)
    print(f"{name:55}" + "  ".join(f"{key} {figures[key]:.4f}" for key in ("top1", "nll", "ece")), flush=True)


if __name__ == "__main__":
    main()
