"""Make images that users bring: folders of every layout, files of every kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pwfn.artifact import describe
from real_world_cases import Case, Done

EVALUATE = Path(__file__).parents[2] / "evaluate.py"
TINY = (
    "experiment=smoke", "data=image_folder", "data.channels=1", "data.image_size=32", "data.num_workers=0",
    "data.batch_size=4", "report=false", "pretrain.epochs=1", "schedule=one_shot", "schedule.fractions=[1.0]",
)  # fmt: skip
NAMES = ("class1", "class2", "class10")
Make = Callable[[Path], object]


def picture(path: Path, level: int = 100) -> Path:
    """Write a gray image; its ending says of which kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (20, 20), level).save(path, format="JPEG" if path.suffix in (".jfif", ".jpe") else None)
    return path


def photos(root: Path, *splits: str, names: Sequence[str] = NAMES, count: int = 4) -> Path:
    """Write `count` images of each class, in each split or directly in `root`."""
    for folder in [root / split for split in splits] or [root]:
        for label, name in enumerate(names):
            for index in range(count):
                picture(folder / name / f"{index}.png", 60 * label + index)
    return root


def case(name: str, make: Make, outcome: Callable[[Done], str], *more: str, root: str = ".") -> Case:
    """Make a case whose input is a folder with train/ and val/, to which `make` does something."""

    def arguments(folder: Path) -> Sequence[str]:
        photos(folder, "train", "val")
        make(folder)
        return [*TINY, f"data.root={os.path.normpath(folder / root)}", *more]

    return Case(name, arguments, outcome)


def refused(name: str, make: Make, words: str, *more: str, root: str = ".") -> Case:
    """Make the case of a folder that is refused in one line."""
    return case(name, make, lambda done: done.refused(words), *more, root=root)


def read(name: str, make: Make, words: str, *more: str) -> Case:
    """Make the case of a folder that is read: a line has these words, and no library warns."""

    def outcome(done: Done) -> str:
        line = done.line(words)
        assert done.code == 0, done.line("pwfn")
        assert "UserWarning" not in done.text, "a warning of a library"
        return line

    return case(name, make, outcome, *more)


def numbered(*names: str) -> Callable[[Done], str]:
    """Check the order of the classes in the artifact."""

    def outcome(done: Done) -> str:
        assert done.code == 0, done.line("pwfn")
        found = describe(done.run / "model.pwfn")["class_names"]
        assert found == list(names), f"numbered {found}"
        return f"numbered {', '.join(found)}"

    return outcome


def measured_by_name(done: Done) -> str:
    """Measure the artifact of a run on test images alone, of two of its classes."""
    some = photos(done.inputs / "some", "val", names=("class10", "class1"))
    command = [sys.executable, str(EVALUATE), f"artifact={done.run / 'model.pwfn'}", "data=image_folder", "samples=0",
               f"data.root={some}", "data.channels=1", "data.num_workers=0", f"output={done.inputs / 'found'}"]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(found.returncode, found.stdout + found.stderr, done.run, done.inputs).line("matched by name")


def nothing(_: Path) -> None:
    """Leave a folder as it is."""


def deeper(folder: Path) -> None:
    """Put the classes one folder too deep."""
    for split in ("train", "val"):
        (folder / split).rename(folder / "classes")
        (folder / split).mkdir()
        (folder / "classes").rename(folder / split / "images")


def flat_val(folder: Path) -> None:
    """Lay out the validation images as tiny-imagenet does."""
    for number, image in enumerate(sorted(folder.glob("val/*/*.png"))):
        (folder / "val" / "images").mkdir(exist_ok=True)
        image.rename(folder / "val" / "images" / f"val_{number}.png")
    for name in NAMES:
        (folder / "val" / name).rmdir()
    (folder / "val" / "val_annotations.txt").write_text("val_0.png\tclass1\n")


def service(folder: Path) -> None:
    """Add folders of programs and systems, at both levels."""
    for name in (".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX"):
        picture(folder / "train" / name / "0.png")
        picture(folder / "train" / "class1" / name / "0.png")


def linked(folder: Path) -> None:
    """Add a linked folder of two images, and a link that leads back."""
    for index in range(2):
        picture(folder / "elsewhere" / f"{index}.png")
    (folder / "train" / "class1" / "more").symlink_to(folder / "elsewhere")
    (folder / "train" / "class1" / "loop").symlink_to(folder / "train")


def endings(folder: Path) -> None:
    """Add four images of other endings, and three files that are none."""
    for name in ("a.jfif", "b.jfif", "c.jpe", "d.gif"):
        picture(folder / "train" / "class1" / name)
    for name in ("a.txt", "b.txt", "c.csv"):
        (folder / "train" / "class1" / name).write_text("x")


def not_utf8(folder: Path) -> None:
    """Add a class whose name is latin-1."""
    for split in ("train", "val"):
        picture(folder / split / os.fsdecode(b"caf\xe9") / "0.png")


def broken(folder: Path) -> None:
    """Break one image and empty another."""
    whole = (folder / "train" / "class1" / "0.png").read_bytes()
    (folder / "train" / "class1" / "0.png").write_bytes(whole[:45])
    (folder / "val" / "class2" / "1.png").write_bytes(b"")


def levels(values: object, name: str) -> Make:
    """Replace an image by one of these levels."""
    return lambda folder: Image.fromarray(np.asarray(values)).save(folder / "train" / "class1" / name)


def other_split(table: str) -> Callable[[Path], Sequence[str]]:
    """Split one folder by a file of the user's own."""

    def arguments(folder: Path) -> Sequence[str]:
        root = photos(folder / "all", count=4)
        rows = [f"{part},{name}/{n}.png" for name in NAMES for n, part in enumerate(("train", "train", "val", "test"))]
        (folder / "split.csv").write_text("\n".join(["split,file", *rows, table]), encoding="utf-8-sig")
        return [*TINY, f"data.root={root}", f"data.split={folder / 'split.csv'}"]

    return arguments


def linked_val(folder: Path) -> None:
    """Let the test images be the training images."""
    shutil.rmtree(folder / "val")
    (folder / "val").symlink_to(folder / "train")


def cut_avif(folder: Path) -> None:
    """Add an AVIF whose end is missing."""
    path = folder / "train" / "class1" / "cut.avif"
    Image.effect_noise((64, 64), 80).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def many_kinds(folder: Path) -> None:
    """Add images of the modes that cameras, printers and web pages leave."""
    place = folder / "train" / "class1"
    color = Image.effect_noise((16, 16), 80).convert("RGB")
    color.convert("CMYK").save(place / "cmyk.jpg")
    color.convert("LA").save(place / "la.png")
    color.convert("RGBA").save(place / "rgba.png")
    color.quantize(8).save(place / "palette.png", transparency=bytes(range(8)))
    color.save(place / "pages.tif", save_all=True, append_images=[color.rotate(90)])
    color.save(place / "moves.webp", save_all=True, append_images=[color.rotate(90)])


CASES = [
    case("classes 1, 2, 10", nothing, numbered("class1", "class2", "class10")),
    case("the same in torchvision's order", nothing, numbered("class1", "class10", "class2"), "data.class_order=sorted"),
    read("both orders differ", nothing, "a head trained in torchvision's order"),
    case("test images of two of three classes", nothing, measured_by_name),
    refused("classes one folder too deep", deeper, "if these are the classes, move them to"),
    refused("a flat val/ with annotations", flat_val, "val_annotations.txt, which is not read"),
    read("hidden and service folders", service, "12 training, 12 test images (val/), 3 classes"),
    read("a linked folder and a loop", linked, "14 training, 12 test images (val/), 3 classes"),
    read("other endings", endings, "16 training, 12 test images (val/), 3 classes"),
    read("files that are no images", endings, "train: 1 .csv, 2 .txt passed over"),
    refused("a class name that is not UTF-8", not_utf8, "is not UTF-8; rename it"),
    refused("broken and empty images", broken, "2 of 24 images cannot be read"),
    read("the same, left out", broken, "1 images cannot be read and are left out", "data.check=skip"),
    read("16-bit gray", levels(np.arange(65536, dtype=np.uint16).reshape(256, 256), "a.png"), "13 training"),
    read("12 bits stored in 16", levels(np.arange(4096, dtype=np.uint16).reshape(64, 64), "a.png"), "nearly black"),
    refused("an AVIF that ends too early", cut_avif, "cut.avif: not a readable image"),
    read("floating point from 0 to 1", levels(np.eye(16, dtype=np.float32), "a.tif"), "13 training"),
    refused("floating point to 255", levels(np.full((4, 4), 255, np.float32), "a.tif"), "a.tif: has floating-point levels"),
    read("CMYK, alpha, palettes, pages, animations", many_kinds, "3 images have transparency"),
    refused("data.root=.../train", nothing, "did you mean data.root=", root="train"),
    Case(
        "one folder without a split",
        lambda folder: [*TINY, f"data.root={photos(folder, count=10)}", "data.split=[0.6,0.2,0.2]"],
        lambda done: done.line("18 training, 6 validation, 6 test images") if done.code == 0 else done.line("nothing"),
    ),
    refused("a split of train/ and val/", nothing, "are splits, not classes", "data.split=[0.6,0.2,0.2]"),
    refused("test images that are trained on", linked_val, "is the folder of the training images"),
    Case("a split that lists an image twice", other_split("test,class1/0.png"),
         lambda done: done.refused("lists 'class1/0.png' twice, as train and as test")),
    Case("a split that a spreadsheet has saved", other_split(""),
         lambda done: done.line("6 training, 3 validation, 3 test images") if done.code == 0 else done.line("nothing")),
    read("an image beside the class folders", lambda folder: picture(folder / "train" / "0.png"), "belong to no class"),
    read("a finishing", nothing, "finishing: the network", "finish=unquantised", "data.val_fraction=0.34"),
    read("few test images", nothing, "12 test images), loss"),
]  # fmt: skip
