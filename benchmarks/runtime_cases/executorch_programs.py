"""Run the exported network with ExecuTorch."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from benchmarks.runtime_cases.measuring import Row, Run, compared, elsewhere, images_of, megabytes, packed_network


def executorch_program(path: Path, folder: Path, xnnpack: bool) -> Row:
    """Lower the exported packed network, and run the program."""
    from executorch.runtime import Runtime as Executor

    file = folder / "model.pte"
    taken = elsewhere(lower, path, file, xnnpack)

    def start() -> Run:
        method = Executor.get().load_program(file).load_method("forward")
        return lambda images: method.execute([images])[0]

    return {"file MB": megabytes(file), "s to lower": taken, **compared(path, start)}


def lower(path: Path, file: Path, xnnpack: bool) -> float:
    """Write the program of the packed network, and return the seconds that it took."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    began = time.perf_counter()
    exported = torch.export.export(packed_network(path), (images_of(path),))
    partitioners = [XnnpackPartitioner()] if xnnpack else []
    program = to_edge_transform_and_lower(exported, partitioner=partitioners).to_executorch()
    file.write_bytes(program.buffer)
    return time.perf_counter() - began


def executorch(path: Path, folder: Path) -> Row:
    """Use the portable kernels."""
    return executorch_program(path, folder, xnnpack=False)


def executorch_xnnpack(path: Path, folder: Path) -> Row:
    """Hand to XNNPACK whatever it takes."""
    return executorch_program(path, folder, xnnpack=True)
