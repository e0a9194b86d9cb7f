"""Measure memory and time per image of `pwfn.load(path, packed=True)` beside the float32 model.

    python benchmarks/packed.py model.pwfn [--repeat 3] [--json results.json]

For the figures with 4 bits, give it what `pwfn export model.pwfn --to pwfn --per-tensor-max 16 --out model16.pwfn`
writes. Each measurement is a process of its own on one core; memory is what the kernel counts (VmHWM) above what the
process held before, with an allocator that gives large blocks back when they are freed (MALLOC_MMAP_THRESHOLD_): what
is live, without the holes in the heap. Times, and a row of memory, are taken with the allocator as it comes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn, and benchmarks

from benchmarks.memory import peak

BATCHES = (1, 32)
SMALL = "small.pwfn"
BOUNDS = {8: 0.27, 4: 0.15}  # of float32, by the widest index


def save_small(path: Path) -> None:
    """Write any small network."""
    import timm
    import torch

    import pwfn

    model = timm.create_model("test_resnet")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter * 64).round() / 64)
    pwfn.save(path, model)


def child(what: str, path: Path) -> dict[str, Any]:
    """Measure once; everything that is needed is imported before."""
    import torch

    import pwfn
    from pwfn.artifact.packed import packed_lookups, resident_bytes

    torch.set_num_threads(1)
    size = pwfn.describe(path)["data"]["input_size"]
    packed = what.endswith("packed")
    torch.nn.Linear(8, 8)(torch.zeros(1, 8))
    if what.startswith("load"):
        for _ in range(2):  # a first load imports half of torch
            pwfn.load(path.with_name(SMALL), packed=packed)
        return peak(lambda: pwfn.load(path, packed=packed))
    model = pwfn.load(path, packed=packed)
    found: dict[str, Any] = {"resident": resident_bytes(model)}
    if packed:
        found["bits"] = max(one.bits for one in packed_lookups(model))
        found["largest"] = max(4 * one.codes.numel() * 8 // one.bits for one in packed_lookups(model))
    with torch.inference_mode():
        for batch in BATCHES:
            images = torch.randn(batch, *size)
            model(images)
            if what.startswith(("memory", "heap")):
                found[f"forward {batch}"] = min(peak(lambda x=images: model(x))["bytes"] for _ in range(3))
                continue
            started = time.perf_counter()
            for _ in range(5):
                model(images)
            found[f"ms {batch}"] = (time.perf_counter() - started) / 5 / batch * 1e3
    return found


def measure(path: Path, repeat: int) -> dict[str, list[dict[str, Any]]]:
    """Measure one artifact, each figure in a process of its own."""
    found: dict[str, list[dict[str, Any]]] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(repeat):
        for what in (f"{one} {form}" for one in ("load", "memory", "heap", "time") for form in ("plain", "packed")):
            allocator = {} if what.startswith(("heap", "time")) else {"MALLOC_MMAP_THRESHOLD_": "65536"}
            command = [sys.executable, __file__, str(path), "--child", what]
            done = subprocess.run(command, env=environment | allocator, stdout=subprocess.PIPE, text=True, check=True)
            found.setdefault(what, []).append(json.loads(done.stdout.splitlines()[-1]))
    return found


def report(found: dict[str, list[dict[str, Any]]], file: int) -> None:
    """Print a Markdown table: the least memory, and the median time with its spread."""

    def least(what: str, key: str) -> float:
        return min(one[key] for one in found[what])

    def times(what: str, batch: int) -> str:
        values = sorted(one[f"ms {batch}"] for one in found[what])
        return f"{values[len(values) // 2]:.1f} ({values[0]:.1f} to {values[-1]:.1f})"

    resident, dense = least("memory packed", "resident"), least("memory plain", "resident")
    bits, largest = found["memory packed"][0]["bits"], found["memory packed"][0]["largest"]
    bound = BOUNDS.get(bits)
    verdict = "" if bound is None else f"at most {bound}: {'pass' if resident <= bound * dense else '**FAIL**'}"
    more = least("memory packed", "forward 1") - least("memory plain", "forward 1")
    layer = (
        f"at most one layer, {largest / 1e6:.2f}, above float32's: {'pass' if more <= 1.15 * largest else '**FAIL**'}"
    )
    loading = least("load packed", "bytes")
    stream = f"at most packed + one layer: {'pass' if loading <= resident + largest else '**FAIL**'}"
    rows = [
        ("weights and buffers, MB", f"{dense / 1e6:.2f}", f"{resident / 1e6:.2f} ({resident / dense:.3f})", verdict),
        ("peak while loading, MB", f"{least('load plain', 'bytes') / 1e6:.1f}", f"{loading / 1e6:.1f}", stream),
    ]
    for kind, batch in (*(("memory", batch) for batch in BATCHES), ("heap", 1)):
        needed = [f"{least(f'{kind} {what}', f'forward {batch}') / 1e6:.1f}" for what in ("plain", "packed")]
        name = f"peak of a forward pass, batch {batch}{', with holes in the heap' if kind == 'heap' else ''}, MB"
        rows.append((name, *needed, layer if (kind, batch) == ("memory", 1) else ""))
    rows += [(f"ms an image, batch {b}", times("time plain", b), times("time packed", b), "") for b in BATCHES]
    print(f"file {file / 1e6:.2f} MB, indices of up to {bits} bits\n")
    print("| | float32 | packed | |\n|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--repeat", type=int, default=3, help="fresh processes for each figure")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.repeat < 1:
        parser.error("--repeat is 1 or more")
    if given.child:
        print(json.dumps(child(given.child, given.artifact)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pwfn"
        shutil.copy(given.artifact, path)
        save_small(path.with_name(SMALL))
        found = measure(path, given.repeat)
        report(found, path.stat().st_size)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
