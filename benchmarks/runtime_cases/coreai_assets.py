"""Convert the exported network with Core AI."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pwfn
from benchmarks.runtime_cases.measuring import Row, images_of, megabytes, packed_network
from pwfn.artifact.packed import packed_lookups


def coreai(path: Path, folder: Path) -> Row:
    """Convert the exported packed network, look the indices up in the file, and try to run it."""
    from coreai.runtime import AIModel, NDArray
    from coreai_torch import TorchConverter, get_decomp_table

    packed, images = packed_network(path), images_of(path)
    exported = torch.export.export(packed, (images,)).run_decompositions(get_decomp_table())
    asset = folder / "model.aimodel"
    TorchConverter().add_exported_program(exported).to_coreai().save_asset(asset)
    content = (asset / "main.mlirb").read_bytes()
    lookups = list(packed_lookups(packed))
    small = sum(one.codes.numpy().tobytes() in content for one in lookups)
    wide = sum(one.codes.int().numpy().tobytes() in content for one in lookups)  # casts of small tensors are folded
    found = f"{small} as they are, {wide} as int32, of {len(lookups)}"
    row: Row = {"file MB": megabytes(asset), "tensors whose indices are in the file": found}

    async def run() -> Any:
        model = await AIModel.load(asset)
        function = model.load_function(model.function_names[0])
        return await function({function.desc.input_names[0]: NDArray(images.numpy())})

    try:
        (logits,) = asyncio.run(run()).values()
        with torch.no_grad():
            row["logits within"] = float(np.abs(logits.numpy() - pwfn.load(path)(images).numpy()).max())
    except RuntimeError as error:  # on Linux the package converts only
        row["not run"] = str(error)
    return row
