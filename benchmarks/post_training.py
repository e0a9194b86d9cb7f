"""Measure time and peak memory of second-order clustering of a large network (Linux).

    python benchmarks/post_training.py                                  # ResNet-18, 224 pixels, 1,024 images
    python benchmarks/post_training.py --network resnet50 --minutes 40

Weights and images are random, with fitting statistics in the norms: time does not depend on them, but for whether
the guard walks over the layers again. Exit code 1 if it takes longer or more memory than the limits.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
from pathlib import Path

import timm
import torch
from torch.optim.swa_utils import update_bn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.memory import can_be_measured, peak
from pwfn import compress
from pwfn.clustering import SecondOrder

WHERE = {  # what is shown: the function whose time, with all that it calls, it is
    "output factors": ("output_factors.py", "output_factors"),
    "input moments": ("input_moments.py", "input_moments"),
    "choosing values": ("second_order.py", "choose_layer"),
    "measuring on held-out images": ("guard.py", "divergence"),
}


def main() -> int:
    """Measure, print, and return 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18", help="a name that timm knows")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--minutes", type=float, default=10.0, help="it may take at most")
    parser.add_argument(
        "--gigabytes", type=float, default=6.0, help="it may take at most, above the network and images"
    )
    args = parser.parse_args()
    if not can_be_measured():
        raise SystemExit("benchmarks/post_training.py: the kernel does not let this process measure its memory")
    torch.manual_seed(0)
    network = timm.create_model(args.network, num_classes=1000).eval()
    images = torch.randn(args.images, 3, args.size, args.size)
    update_bn(images[:128].split(32), network)  # else answers would be all alike, or no numbers
    profile = cProfile.Profile()
    rule = SecondOrder(rate=1e-8, images=args.images)
    used = peak(lambda: profile.runcall(compress, network, images.split(64), rule=rule))
    minutes, gigabytes = used["seconds"] / 60, used["bytes"] / 1e9
    print(f"{args.network}, {args.images:,} images of {args.size} x {args.size}, {torch.get_num_threads()} threads")
    for what, seconds in parts(profile).items():
        print(f"  {what:30} {seconds:8.1f} s  {seconds / used['seconds']:5.1%}")
    print(f"  {'all':30} {used['seconds']:8.1f} s, peak {gigabytes:.2f} GB above what the process held before")
    late, large = minutes > args.minutes, gigabytes > args.gigabytes
    print(f"limits: {args.minutes:g} minutes {'MISSED' if late else 'kept'}, ", end="")
    print(f"{args.gigabytes:g} GB {'MISSED' if large else 'kept'}")
    return int(late or large)


def parts(profile: cProfile.Profile) -> dict[str, float]:
    """Return the seconds of each of WHERE."""
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    seconds = {(Path(path).name, name): times[3] for (path, _, name), times in stats.items()}
    return {what: seconds.get(where, 0.0) for what, where in WHERE.items()}


if __name__ == "__main__":
    sys.exit(main())
