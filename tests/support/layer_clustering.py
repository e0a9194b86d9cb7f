"""Share a small trained network, images of its four patterns, and a clustering of its layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.clustering import AdditivePow2, SecondOrder
from pwfn.clustering.second_order import coded_bits, nearest_places
from pwfn.curvature import Watched
from pwfn.post_training.cluster_layers import Calibration, LayerClustering

TABLE = AdditivePow2(5, 3).candidates(3, 8.0)


class Net(nn.Module):
    """Convolutions with and without groups, a norm, a bias, and a scale that no linear map has."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=4, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.scale = nn.Parameter(torch.tensor([1.3]))
        self.head = nn.Linear(8 * 9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.head(self.body(x).flatten(1))


def trained_network() -> tuple[Net, Tensor]:
    """A network that tells four patterns apart, and images of them."""
    torch.manual_seed(0)
    patterns = torch.randn(4, 1, 8, 8)
    labels = torch.randint(0, 4, (600,))
    images = patterns[labels] + 1.2 * torch.randn(600, 1, 8, 8)
    network = Net()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for step in range(60):
        batch = slice(64 * step % 512, 64 * step % 512 + 64)
        optimizer.zero_grad()
        F.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()
    return network.eval().requires_grad_(False), images


def clustering(trained: tuple[Net, Tensor], **options: Any) -> tuple[LayerClustering, list[str]]:
    network, images = trained
    copy = Net()
    copy.load_state_dict(network.state_dict())
    names = [name for name, _ in copy.named_parameters() if "body.3" not in name]
    parameters = dict(copy.named_parameters())
    made = LayerClustering(
        Watched(copy, [parameters[name] for name in names]),
        [TABLE] * len(names),
        SecondOrder(**({"rate": 1e-4, "images": 256} | options)),
        Calibration.of(images[:256], 100),
    )
    return made, names


def bits_of(weights: list[Tensor]) -> float:
    places = [nearest_places(TABLE, weight.double()) for weight in weights]
    return sum(coded_bits(place, len(TABLE)) for place in places) / sum(place.numel() for place in places)


def divergence(trained: tuple[Net, Tensor], network: nn.Module) -> float:
    """On images that nothing was estimated from."""
    with torch.no_grad():
        expected, found = (one.eval()(trained[1][300:]).log_softmax(1) for one in (trained[0], network))
    return float((expected.exp() * (expected - found)).sum(1).mean())
