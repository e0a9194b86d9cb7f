"""Pretrain a network of the study with IVON, and write the means and sigmas of its posterior.

    python scripts/study/pretrain_ivon.py mobilenetv3 --to pretrained/ivon/0 --lr 0.1 --hess-init 0.1 --beta2 0.9999

IVON (Shen et al. 2024, ICML, arXiv:2402.17641; package ivon-opt, extra study) learns a Gaussian for every parameter:
sigma = 1 / sqrt(ess (h + weight_decay)), with the diagonal h of the Hessian and ess, by default the number of training
images.
Images, augmentation and batches are those of `experiment=study_<network>`; BatchNorm gathers its statistics
anew at the mean weights. Writes pretrained.safetensors, and sigma.safetensors of the quantized weights for
`sigma=given sigma.path=...`; prints accuracy and NLL on validation images, by which settings are chosen.
"""

from __future__ import annotations

import argparse
import sys
from copy import deepcopy
from pathlib import Path

import ivon
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pwfn.bayesian.posterior import to_bayesian
from pwfn.config import resolvers
from pwfn.config.build import load
from pwfn.data.module import ImageDataModule
from pwfn.evaluation.predict import LabeledImages, logits
from pwfn.models.accuracy import RunningScores
from pwfn.models.batchnorm import reestimate
from pwfn.models.precision import Computing
from pwfn.models.timm_model import data_config
from pwfn.randomness import seed_run
from pwfn.run.settings import TrainSettings
from scripts.study.collect import PROJECT

ON = Computing(torch.device("cpu"), "32-true")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="of conf/experiment/study_<network>.yaml")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, help="a folder; without it, nothing is written")
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--hess-init", type=float, required=True)
    parser.add_argument("--beta2", type=float, required=True)
    parser.add_argument("--weight-decay", type=float, default=1.5e-3)
    parser.add_argument("--ess", type=float, default=1.0, help="times the training images")
    parser.add_argument("--epochs", type=int, default=6, help="6 are those of the study")
    args = parser.parse_args()
    resolvers.register()
    with initialize_config_dir(str(PROJECT / "conf"), version_base=None):
        config = compose("train", [f"experiment=study_{args.network}", f"seed={args.seed}"])
    settings = load(TrainSettings, config)
    seed_run(settings.seed)
    spec = settings.data
    network = settings.model.build(num_classes=spec.num_classes, in_chans=spec.channels)
    data = ImageDataModule(spec, data_config(network), settings.seed)
    data.setup("fit")
    count = data.count("train")
    assert count is not None
    optimizer = ivon.IVON(
        network.parameters(),
        lr=args.lr,
        ess=args.ess * count,
        hess_init=args.hess_init,
        beta2=args.beta2,
        weight_decay=args.weight_decay,
    )
    train(network, optimizer, data, settings, args.epochs)
    reestimate(network, data.batches_outside_fits(), ON, 2048)
    scores = RunningScores()
    images = LabeledImages(data.val_dataloader())
    for labels, batch in zip(images.labels, logits(network, images, ON), strict=True):
        scores.update(batch, labels)
    sigmas = posterior(network, optimizer)
    spread = torch.cat([one.flatten() for one in sigmas.values()]).quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    found = scores.scores()
    print(
        f"{vars(args)}: validation top1 {found.top1:.2f}, NLL {found.loss:.4f}; sigma of 5, 50, 95 % of the weights: "
        + ", ".join(f"{one:.2e}" for one in spread),
        flush=True,
    )
    if args.to is not None:
        args.to.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: t.contiguous() for name, t in network.state_dict().items()}, args.to / "pretrained.safetensors"
        )
        save_file(sigmas, args.to / "sigma.safetensors")


def train(
    network: nn.Module, optimizer: ivon.IVON, data: ImageDataModule, settings: TrainSettings, epochs: int
) -> None:
    """Train with one draw of the weights a step, and the learning rates of the study's pretraining."""
    spec, loader = settings.pretrain, data.batches_outside_fits()
    lr, steps, step = optimizer.param_groups[0]["lr"], epochs * len(loader), 0
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        network.train()
        for images, labels in loader:
            optimizer.param_groups[0]["lr"] = lr * spec.optimizer.lr_factor(step, steps)
            with optimizer.sampled_params(train=True):
                optimizer.zero_grad()
                loss = F.cross_entropy(network(data.normalization(images)), labels)
                loss.backward()
            optimizer.step()
            step += 1
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}", file=sys.stderr, flush=True)


def posterior(network: nn.Module, optimizer: ivon.IVON) -> dict[str, Tensor]:
    """Return the standard deviation of every weight that a run quantizes, by its name."""
    group = optimizer.param_groups[0]
    flat = (group["ess"] * (group["hess"] + group["weight_decay"])).rsqrt()
    names = [name for name, _ in network.named_parameters()]
    shapes = [parameter.shape for parameter in network.parameters()]
    pieces = flat.split([shape.numel() for shape in shapes])
    of_all = {name: piece.view(shape).clone() for name, piece, shape in zip(names, pieces, shapes, strict=True)}
    copy = deepcopy(network)
    return {tensor.name: of_all[tensor.name] for tensor in to_bayesian(copy)}


if __name__ == "__main__":
    main()
