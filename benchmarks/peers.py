"""Compress the network of a finished run with other packages, and count bits and right answers.

    python benchmarks/peers.py outputs/.../run                      # every peer that is installed
    python benchmarks/peers.py outputs/.../run --peer nncodec --json peers.json

The weights are those that the run quantizes, as they were before it (pretrained.safetensors); all other tensors stay as
they are. Bits are the bytes of the peer's own file over these weights. `top1` is counted on the run's own test images.
`nncodec-integers` codes the run's clustered weights (model.pwfn), so that two coders have the same integers.
`dkm` trains the whole network on the run's training images; its bits are counted, it writes no file.

A peer is a row of `PEERS`: its operating points, and a function from weights to a file and the weights it gives back,
or from a network and batches to a trained network.
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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

import pwfn
from benchmarks.peer_coders.coder import Peer, Point, Weights
from benchmarks.peer_coders.core_ml import coremltools
from benchmarks.peer_coders.dkm import dkm
from benchmarks.peer_coders.nnc import nncodec, nncodec_integers
from pwfn.data.module import ImageDataModule
from pwfn.evaluation.run_subject import rebuilt_settings
from pwfn.models.accuracy import label_ranks
from pwfn.models.timm_model import data_config

# it asks for numpy<2, and runs with 2.4
NNCODEC = ("nncodec", "nncodec", "--no-deps nncodec==2.1.3; pip install '.[peers]'")
COREML = ("coremltools", "coremltools", "'.[coreml]'")
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
        COREML,
    ),
    "dkm": Peer(None, [{"n_bits": bits} for bits in (1, 2, 3)], COREML, train=dkm),
}


@dataclass(frozen=True)
class Subject:
    """Hold the run that is compressed: its network before the rounds, and how to test it."""

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
            size, figures = made_by(peer, subject, weights, point, Path(folder))
        row = {"peer": name, **point, "bits": 8 * size / total, "seconds": time.perf_counter() - began, **figures}
        rows.append(row)
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    return rows


def made_by(peer: Peer, subject: Subject, weights: Weights, point: Point, folder: Path) -> tuple[float, dict[str, Any]]:
    """Return the bytes of what a peer makes at a point, and what it is worth."""
    if peer.train is not None:
        trained = peer.train(subject.network, subject.data.train_dataloader(), subject.names, point)
        return trained.size, {"top1": replace(subject, network=trained.network).top1({})}
    assert peer.code is not None
    coded = peer.code(weights, point, folder)
    if not peer.clustered:
        return coded.size, {"top1": subject.top1(coded.weights)}
    same = sum(np.array_equal(coded.weights[key].reshape(-1), one.reshape(-1)) for key, one in weights.items())
    return coded.size, {"bit for bit": f"{same} of {len(weights)} tensors"}


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
