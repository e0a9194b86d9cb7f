"""The shift-add bill against hand-computed layers and loops over every product."""

from __future__ import annotations

import csv
import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from matplotlib.image import imread
from torch import nn

from pwfn.bayesian.posterior import quantized_tensors, to_bayesian
from pwfn.evaluation.analyses.shift_add.cost import count_operations, signed_digits, weight_uses
from pwfn.evaluation.analyses.shift_add.report import bill_csv, bill_sentence
from pwfn.run.start import Finished
from tests.support import oracles
from tests.support.clustered import clustered
from tests.support.evaluation import measured


def naive_digits(value: float) -> int:
    return oracles.signed_digits(int(abs(value) * 2**40))


def test_signed_digits_are_those_of_a_loop() -> None:
    values = [0.0, 1.0, -0.5, 0.75, 7 / 8, 0.6875, -(2**-7), 3.0, 0.1015625, 11 / 128, 2.0**-20, 5 / 1024]
    assert signed_digits(np.array(values, dtype=np.float32)).tolist() == [naive_digits(v) for v in values]
    assert signed_digits(np.array([0.75, 7 / 8, 0.6875], dtype=np.float32)).tolist() == [2, 2, 3]
    free = np.random.default_rng(0).normal(size=200).astype(np.float32)
    assert signed_digits(free).tolist() == [naive_digits(float(v)) for v in free]


def test_uses_of_hand_computed_layers() -> None:
    layers = nn.ModuleDict(
        {
            "conv": nn.Conv2d(4, 6, 3, stride=2, padding=1),  # 9 x 7 -> 5 x 4
            "grouped": nn.Conv2d(6, 6, 3, groups=6, padding=2, dilation=2),  # 5 x 4
            "transposed": nn.ConvTranspose2d(6, 2, 2, stride=2),  # from 5 x 4
            "linear": nn.Linear(8, 3),  # on 10 x 2 rows of the 2 x 10 x 8
        }
    )

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.layers["transposed"](self.layers["grouped"](self.layers["conv"](x)))
            return self.layers["linear"](x)

    network = Network()
    to_bayesian(network)
    counted = count_operations(network, torch.zeros(1, 4, 9, 7))
    macs = {layer.name: layer.cost.macs for layer in counted.layers}
    assert macs == {
        "layers.conv": 6 * 4 * 3 * 3 * 5 * 4,
        "layers.grouped": 6 * 1 * 3 * 3 * 5 * 4,
        "layers.transposed": 6 * 2 * 2 * 2 * 5 * 4,
        "layers.linear": 8 * 3 * 2 * 10,
    }
    assert counted.uncounted == []


def test_a_whole_resnet_has_its_known_number_of_multiplications() -> None:
    network = timm.create_model("resnet18")
    to_bayesian(network)
    uses = weight_uses(network, torch.zeros(1, 3, 224, 224))
    total = sum(uses.get(id(t.gaussian), 0) * t.mu.numel() for t in quantized_tensors(network))
    assert total == 118_013_952 + 4 * 115_605_504 + 3 * (57_802_752 + 3 * 115_605_504 + 6_422_528) + 512_000


def test_every_product_is_where_it_belongs() -> None:
    """A convolution and a linear layer, product by product."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    choice = torch.tensor([0.0, 0.5, -0.25, 0.75, 0.6875, 0.3359375, 0.1])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(choice[torch.randint(len(choice), parameter.shape)])
    to_bayesian(network)
    tally = dict.fromkeys(range(6), 0)
    for o, i, y, x, row, column in product(range(3), range(2), range(3), range(3), range(4), range(4)):
        del row, column  # one product for each place of the output
        tally[min(5, naive_digits(network[0].weight[o, i, y, x].item()))] += 1
    for o, i in product(range(5), range(48)):
        tally[min(5, naive_digits(network[2].weight[o, i].item()))] += 1
    total = count_operations(network, torch.zeros(1, 2, 4, 4)).total
    assert [total.skipped, total.one, total.two, total.three, total.four, total.left] == list(tally.values())
    assert total.macs == sum(tally.values())
    assert total.accumulations == total.macs - tally[0]
    assert total.shifts == sum(n * tally[n] for n in range(1, 5))
    assert total.adds == sum((n - 1) * tally[n] for n in range(1, 5))
    weights = torch.cat([t.mu.detach().flatten() for t in quantized_tensors(network)]).tolist()
    bits = -sum(math.log2(weights.count(w) / len(weights)) for w in weights)
    assert total.bits_float32 == 32 * len(weights)
    assert total.bits_index == 3 * len(weights)
    assert total.bits_entropy == pytest.approx(bits, rel=1e-12)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_clustered_networks_of_three_families(name: str) -> None:
    network = clustered(name)
    total = (counted := count_operations(network, torch.zeros(1, 3, 160, 160))).total
    assert total.left == 0
    assert counted.uncounted == []
    assert total.macs == total.skipped + total.one + total.two + total.three + total.four
    rows = list(csv.DictReader(bill_csv(counted).splitlines()))
    assert rows[-1]["layer"] == "total"
    assert int(rows[-1]["macs"]) == total.macs
    assert sum(int(row["weights"]) for row in rows[:-1]) == int(rows[-1]["weights"])
    assert f"{total.shifts:,} shifts" in bill_sentence(total)
    assert "stay" not in bill_sentence(total)


def test_layers_that_compute_with_other_weights_are_said() -> None:
    network = clustered("test_nfnet")
    names = count_operations(network, torch.zeros(1, 3, 160, 160)).uncounted
    assert names
    assert all("conv" in name or "downsample" in name for name in names)


@pytest.mark.slow
def test_the_bill_of_a_run(finished_run: Finished, tmp_path: Path) -> None:
    measured(run=str(finished_run.folder), bill=True, output=str(tmp_path))
    written = json.loads((tmp_path / "evaluation.json").read_text())["bill"]
    rows = list(csv.DictReader((tmp_path / "bill.csv").open()))
    assert int(rows[-1]["shifts"]) == written["total"]["shifts"] > 0
    bits = written["total"]["bits_entropy"] / int(rows[-1]["weights"])
    assert bits == pytest.approx(finished_run.records[-1].entropy_bits)
    image = np.asarray(imread(tmp_path / "bill.png"))
    assert image.shape[:2] == (750, 1500)
    assert (image[..., :3] < 0.9).any(axis=2).mean() > 0.05
