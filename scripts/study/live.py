"""Count the weights of a network that the loss feels at all, and the bits per weight of those alone.

    python scripts/study/live.py multirun/<date>/<time> ... --name resnet18

At 28 or 32 pixels the last feature maps of a network made for 224 are one pixel large: of a 3 x 3 convolution
that pads, eight of nine weights meet nothing but zeros. Such weights may go anywhere at no cost, and pull the
mean of bits per weight down for every rule. A weight counts as live if its gradient in the pretrained network
is not exactly zero in all of `BATCHES` training batches. Writes results/<name>_live.csv.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.clustering.statistics import entropy_bits, value_counts
from pwfn.config import resolvers
from pwfn.config.build import load
from pwfn.curvature.squared_gradients import squared_gradients
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.report.collect import FINISHED, find_runs, read_run
from scripts.study.collect import PROJECT, RESULTS, add, identity

BATCHES = 64


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--name", required=True, help="of the table")
    args = parser.parse_args()
    resolvers.register()
    rows = []
    for folder in find_runs(args.folders)[0]:
        run = read_run(folder, folder.name)
        if run.status == FINISHED:
            share, bits = live(folder)
            rows.append({**identity(run), "batches": BATCHES, "live_share": share, "live_bits": bits})
            print(f"{folder}: {100 * share:.1f} % live, {bits:.3f} bits each", flush=True)
    add(RESULTS / f"{args.name}_live.csv", rows)


def live(folder: Path) -> tuple[float, float]:
    """Measure the share of live weights, and the entropy in bits of their values in the clustered network."""
    with initialize_config_dir(str(PROJECT / "conf"), version_base=None):
        subject = subject_of(load(EvaluateSettings, compose("evaluate", [f"run='{folder}'"])))
    subject.data.prepare_data()
    subject.data.setup("fit")
    felt = squared_gradients(subject.networks["pretrained"](), subject.data.batches_outside_fits(), BATCHES) > 0
    weights = torch.cat([tensor.mu.detach().flatten() for tensor in quantized_tensors(subject.networks["clustered"]())])
    return felt.float().mean().item(), entropy_bits(value_counts(weights[felt])[1])


if __name__ == "__main__":
    main()
