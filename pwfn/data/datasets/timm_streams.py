"""Open the streamed sets that timm finds: WebDataset shards and Hugging Face sets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pwfn.data.datasets.opened import Opened, check_keys
from pwfn.data.datasets.timm_kinds import WDS_IMAGES
from pwfn.data.images import DataError
from pwfn.data.streams import HubStream, TarStream

if TYPE_CHECKING:
    from pwfn.data.datasets.timm_dataset import TimmData


def opened_stream(spec: TimmData, reader: Any, title: str, split: str) -> Opened:
    """Return a split of a streamed set.

    Args:
        spec: of the set.
        reader: timm's, which has found the shards or the hub's set.
        title: what messages begin with.
        split: its name.

    Raises:
        DataError: a shard or a column is not there.
    """
    given = spec.train_length if split == spec.train_split else None
    if spec.kind == "wds":
        shards = [os.path.join(reader.root, name) for name in reader.split_info.filenames]
        if gone := [name for name in shards if "://" not in name and not os.path.isfile(name)]:
            raise DataError(f"{gone[0]}: no such shard; missing are {len(gone)} of the {len(shards)} of {title}")
        common = (title, spec.num_classes, given or reader.num_samples or None, spec.shuffle_buffer)
        keys = (spec.input_key or WDS_IMAGES, spec.target_key or reader.split_info.alt_label or None)
        return Opened(TarStream(*common, shards, *keys, exif=spec.exif), {})
    keys = (spec.input_key or "image", spec.target_key or "label")
    info = (reader.builder.info.splits or {}).get(split)
    common = (title, spec.num_classes, given or (info and info.num_examples) or None, spec.shuffle_buffer)
    opened = HubStream(*common, reader.builder, split, *keys, exif=spec.exif)
    features = opened.features()
    check_keys(title, list(features), opened.image_key, opened.label_key)
    names = getattr(features.get(opened.label_key), "names", None)
    return Opened(opened, {name: number for number, name in enumerate(names or [])})
