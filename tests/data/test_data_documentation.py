"""docs/data.md tells the truth: its commands are valid, its table is complete, and what it quotes is what is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pwfn.config import build
from pwfn.data import DataError, Digits, ImageData, ImageFolder, ImageNet, TimmData
from pwfn.data.datasets.timm_dataset import KINDS, TORCH_SETS
from pwfn.errors import InvalidValueError
from tests.support.documents import commands_of
from tests.support.images.data import write_folder
from tests.support.project import CONF, PROJECT, Compose

DOCUMENT = PROJECT / "docs" / "data.md"
TEXT = DOCUMENT.read_text()
COMMANDS = commands_of(DOCUMENT)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[2:]) or "default")
def test_a_command_of_the_document_is_valid(command: list[str], composed: Compose) -> None:
    described = OmegaConf.to_container(composed(*command[2:]).data, resolve=True)
    assert isinstance(described, dict)
    build.build(ImageData, described, "data")


def test_every_source_is_described() -> None:
    shown = {word for command in COMMANDS for word in command if word.startswith("data=")}
    for name in sorted(path.stem for path in (CONF / "data").glob("*.yaml")):
        assert f"`{name}`" in TEXT, name
        assert f"data={name}" in shown or name in ("digits", "synthetic"), name
    for kind in KINDS:
        assert f"| `{kind}" in TEXT, kind
    for word in TORCH_SETS:
        assert word in TEXT, word


def test_links_lead_to_headings() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    links = re.findall(r"\]\(#(.*?)\)", TEXT)
    assert links
    assert set(links) <= headings


def damaged(root: Path) -> None:
    write_folder(root)
    image = root / "train" / "cat" / "0.png"
    image.write_bytes(image.read_bytes()[:40])
    ImageFolder(root=str(root)).load().train[0]  # type: ignore[index]


def lacking(root: Path) -> None:
    write_folder(root, classes=("rose", "tulip"))
    for image in (root / "val" / "tulip").iterdir():
        image.unlink()
    (root / "val" / "tulip").rmdir()
    ImageFolder(root=str(root)).check_layout()


def unpacked_by_half(root: Path) -> None:
    write_folder(root)
    ImageNet(root=str(root)).check_layout()


REFUSALS: dict[str, Callable[[Path], object]] = {
    ": no such folder; data.root is a folder that holds train/<class>/ and val/<class>/": lambda root: ImageFolder(
        root=f"{root}/no"
    ).check_layout(),
    ": train and val differ in their classes: only train has tulip": lacking,
    " class folders, data.num_classes is 1000; for a folder of your own images: data=image_folder": unpacked_by_half,
    ": not a readable image (": damaged,
    "test_images = 500: Digits has only 359": lambda _: Digits(test_images=500).partition(),
    "val_fraction = 0.1: must be 0, because wds/ is streamed: no single image of it can be chosen": lambda _: TimmData(
        name="wds/x", num_classes=3, root="x", val_fraction=0.1
    ),
    "batch_size = 0: must be an integer from 1": lambda _: Digits(batch_size=0),
    "val_fraction = 1.5: must be a number from 0 to below 1, or null": lambda _: Digits(val_fraction=1.5),
}


@pytest.mark.parametrize("line", REFUSALS)
def test_a_refusal_is_worded_as_quoted(line: str, tmp_path: Path) -> None:
    assert line in TEXT
    with pytest.raises((DataError, InvalidValueError), match=re.escape(line)):
        REFUSALS[line](tmp_path)
