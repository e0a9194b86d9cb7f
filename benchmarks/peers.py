"""Compress the network of a finished run with other packages, and count bits and right answers as for our own file.

    python benchmarks/peers.py outputs/.../run                      # every peer that is installed
    python benchmarks/peers.py outputs/.../run --peer nncodec --json peers.json

The weights are those that the run quantizes, as they were before it (pretrained.safetensors); all other tensors stay as
they are. Bits are the bytes of the peer's own file over these weights. `top1` is counted on the run's own test images.
`nncodec-integers` codes the run's clustered weights (model.pwfn), so that two coders have the same integers.

A peer is a row of `PEERS`: its operating points, and a function from weights to a file and the weights it gives back.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

import pwfn
from pwfn.data.module import ImageDataModule
from pwfn.evaluation.run_subject import rebuilt_settings
from pwfn.models.accuracy import label_ranks
from pwfn.models.timm_model import data_config

Weights = dict[str, NDArray[np.float32]]
Point = dict[str, Any]


@dataclass(frozen=True)
class Coded:
    """What a peer made: bytes of its file, and the weights that come out of it."""

    size: int
    weights: Weights


@dataclass(frozen=True)
class Peer:
    """A way to compress.

    Attributes:
        code: is given weights by name, an operating point and an empty folder for its files.
        points: keywords that are tried one after the other, and printed.
        package: its distribution and module, and what pip is told.
        clustered: whether it codes the clustered weights of the run, which must come back bit for bit.
    """

    code: Callable[[Weights, Point, Path], Coded]
    points: Sequence[Point]
    package: tuple[str, str, str]
    clustered: bool = False


def nncodec(weights: Weights, point: Point, folder: Path) -> Coded:
    """Quantize and code with NNC (ISO/IEC 15938-17); dependent quantization is on, which is its default."""
    from nncodec.nnc import compress, decompress

    how = {"bitstream_path": str(folder / "model.nnc"), "return_bitstream": True, **point}
    stream = compress(dict(weights), **how)
    decoded = decompress(stream)
    return Coded(len(stream), {name: np.asarray(decoded[name], np.float32) for name in weights})


def finest_power(weights: Weights) -> int:
    """Return the least n for which all weights are multiples of 2^-n."""
    values = np.unique(np.concatenate([one.ravel() for one in weights.values()])).astype(np.float64)
    power = next((power for power in range(32) if not np.any(values * 2.0**power % 1)), None)
    if power is None:
        raise ValueError("the shared values are no multiples of a power of two")
    return power


def nncodec_integers(weights: Weights, point: Point, folder: Path) -> Coded:
    """Code clustered weights without another rounding, as multiples of the finest power of two or as ranks.

    Ranks are the places among the values of a tensor, counted from zero. They are the kinder form: the tables from
    ranks to values that a decoder would need are not counted.
    """
    if point["integers"] == "ranks":
        tables = {name: np.unique(one) for name, one in weights.items()}
        zeros = {name: int(np.searchsorted(table, 0)) for name, table in tables.items()}
        ranks = {name: (np.searchsorted(tables[name], one) - zeros[name]) for name, one in weights.items()}
        power, values = 0, {name: one.astype(np.float32) for name, one in ranks.items()}
    else:
        power, values = finest_power(weights), weights
    step = {"qp": -4 * power, "nonweight_qp": -4 * power, "use_dq": False}
    step["codebook_mode"] = int(point["integers"] == "codebook")
    coded = nncodec(values, step, folder)
    if point["integers"] != "ranks":
        return coded
    back = {name: np.rint(one).astype(np.int64) + zeros[name] for name, one in coded.weights.items()}
    return Coded(coded.size, {name: tables[name][index] for name, index in back.items()})


class _Matrices(nn.Module):
    """Each tensor as a layer of its own, which is all that k-means of a tensor looks at; Core ML adds no bias to it."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(one.size // len(one), len(one), 1, bias=False).requires_grad_(requires_grad=False)
            for one in weights.values()
        )
        for layer, one in zip(self.layers, weights.values(), strict=True):
            layer.weight.copy_(torch.from_numpy(one.reshape(layer.weight.shape)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([layer(inputs[:, : layer.in_channels]) for layer in self.layers], dim=1)


def coremltools(weights: Weights, point: Point, folder: Path) -> Coded:
    """Palettize with k-means of each tensor, and write a Core ML package; its weights are counted, not its program."""
    import coremltools as ct
    from coremltools.optimize.torch.palettization import PostTrainingPalettizer, PostTrainingPalettizerConfig

    config = PostTrainingPalettizerConfig.from_dict({"global_config": {"granularity": "per_tensor", **point}})
    network = PostTrainingPalettizer(_Matrices(weights).eval(), config).compress(num_kmeans_workers=1)
    widest = max(layer.in_channels for layer in network.layers)
    traced = torch.jit.trace(network.eval(), torch.zeros(1, widest, 1, 1))
    package = ct.convert(
        traced,
        inputs=[ct.TensorType(shape=(1, widest, 1, 1))],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    package.save(str(folder / "model.mlpackage"))
    size = sum(file.stat().st_size for file in (folder / "model.mlpackage").rglob("weight.bin"))
    found = [layer.weight.detach().numpy() for layer in network.layers]
    return Coded(size, {name: one.reshape(weights[name].shape) for name, one in zip(weights, found, strict=True)})


# it asks for numpy<2, and runs with 2.4
NNCODEC = ("nncodec", "nncodec", "--no-deps nncodec==2.1.3; pip install '.[peers]'")
PEERS = {
    "nncodec": Peer(nncodec, [{"qp": qp} for qp in range(-34, -14, 2)], NNCODEC),
    "nncodec-integers": Peer(
        nncodec_integers,
        [{"integers": kind} for kind in ("multiples", "codebook", "ranks")],
        NNCODEC,
        clustered=True,
    ),
    "coremltools": Peer(
        coremltools,
        [{"n_bits": bits} for bits in (1, 2, 3, 4)],
        ("coremltools", "coremltools", "'.[coreml]'"),
    ),
}


@dataclass(frozen=True)
class Subject:
    """The run that is compressed: its network before the rounds, and how to test it."""

    network: nn.Module
    names: list[str]
    data: ImageDataModule
    artifact: Path

    @classmethod
    def of(cls, folder: Path) -> Subject:
        """Rebuild what a finished run started from."""
        settings, _ = rebuilt_settings(folder)
        spec = settings.data
        network = settings.model.build(num_classes=spec.num_classes, in_chans=spec.channels, load_weights=False)
        network.load_state_dict(load_file(folder / "pretrained.safetensors"))
        data = ImageDataModule(spec, data_config(network), settings.seed)
        data.setup()
        artifact = folder / "model.pwfn"
        names = [one["names"][0] for one in pwfn.describe(artifact)["coded"]]
        return cls(network.eval(), names, data, artifact)

    def weights(self, *, clustered: bool) -> Weights:
        """Return the quantized tensors as they were before the rounds, or as they are in the artifact."""
        state = pwfn.load(self.artifact).state_dict() if clustered else self.network.state_dict()
        return {name: state[name].numpy().copy() for name in self.names}

    @torch.no_grad()
    def top1(self, weights: Weights) -> float:
        """Return the share of test images that the network is right about with these weights, in percent."""
        state = self.network.state_dict()
        kept = {name: state[name].clone() for name in weights}
        for name, one in weights.items():
            state[name].copy_(torch.from_numpy(one).reshape(state[name].shape))
        right = count = 0
        for images, labels, *_ in self.data.test_dataloader():
            right += int((label_ranks(self.network(images), labels) == 0).sum())
            count += len(labels)
        for name, one in kept.items():
            state[name].copy_(one)
        return 100 * right / count


def own_row(subject: Subject) -> dict[str, Any]:
    """Return the row of the run's own file."""
    bits = pwfn.describe(subject.artifact)["receipt"]["file_bits"]
    return {"peer": "model.pwfn", "bits": bits, "top1": replace(subject, network=pwfn.load(subject.artifact)).top1({})}


def rows_of(name: str, subject: Subject, points: Sequence[Point]) -> list[dict[str, Any]]:
    """Measure one peer at each of its points."""
    peer = PEERS[name]
    weights = subject.weights(clustered=peer.clustered)
    total = sum(one.size for one in weights.values())
    rows = []
    for point in points or peer.points:
        began = time.perf_counter()
        quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        with tempfile.TemporaryDirectory() as folder, quiet[0], quiet[1]:
            coded = peer.code(weights, point, Path(folder))
        row = {"peer": name, **point, "bits": 8 * coded.size / total, "seconds": time.perf_counter() - began}
        if peer.clustered:
            same = sum(np.array_equal(coded.weights[key].reshape(-1), one.reshape(-1)) for key, one in weights.items())
            row["bit for bit"] = f"{same} of {len(weights)} tensors"
        else:
            row["top1"] = subject.top1(coded.weights)
        rows.append(row)
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    return rows


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run with keep=all")
    parser.add_argument("--peer", action="append", choices=PEERS, help="may be given several times; default: all")
    parser.add_argument("--qp", type=int, nargs="+", default=[], help="operating points of nncodec")
    parser.add_argument("--json", type=Path, help="also write all rows to this file")
    given = parser.parse_args()
    subject = Subject.of(given.run)
    floats = {"peer": "float32", "bits": 32.0, "top1": subject.top1({})}
    rows: list[dict[str, Any]] = [floats, own_row(subject)]
    for row in rows:
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    for name in given.peer or PEERS:
        distribution, module, install = PEERS[name].package
        if find_spec(module) is None:
            print(f"{name}: missing  pip install {install}", flush=True)
            continue
        points = [{"qp": qp} for qp in given.qp] if name == "nncodec" else []
        version = importlib.metadata.version(distribution)
        rows += [{**row, "version": version} for row in rows_of(name, subject, points)]
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
