"""Image files of every kind: pixel for pixel as timm's reader, 16 bits and floating point by their levels."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import ImageDataset

from pwfn.data import DataError
from pwfn.data.files.decoding import decoded, eight_bit, image_endings
from pwfn.data.files.file_check import look_at
from pwfn.data.transforms import ToMode
from tests.support.images.data import message

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)


def _palette() -> Image.Image:
    return Image.fromarray(COLOR).quantize(16)


def _transparent_palette() -> Image.Image:
    image = _palette()
    image.info["transparency"] = bytes(range(0, 256, 16))
    return image


def _rgba() -> Image.Image:
    return Image.fromarray(np.dstack([COLOR, RNG.integers(0, 256, (6, 8), dtype=np.uint8)]))


def _one_color_is_transparent() -> Image.Image:
    image = _palette()
    image.info["transparency"] = 3
    return image


KINDS = {
    "gray.png": lambda: Image.fromarray(COLOR[..., 0]),
    "bits.png": lambda: Image.fromarray(COLOR[..., 0] > 100),
    "la.png": lambda: _rgba().convert("LA"),
    "rgba.png": _rgba,
    "rgba.webp": _rgba,
    "palette.png": _palette,
    "palette.gif": _palette,
    "transparent.png": _transparent_palette,
    "one_color.png": _one_color_is_transparent,
    "one_color.gif": _one_color_is_transparent,
    "cmyk.jpg": lambda: Image.fromarray(COLOR).convert("CMYK"),
    "lab.tif": lambda: Image.new("LAB", (8, 6), (136, 208, 195)),
    "cmyk.tif": lambda: Image.fromarray(COLOR).convert("CMYK"),
}


def as_timm(path: Path) -> np.ndarray:
    """The pixels that timm's own reader gives, whose warnings are its own."""
    folder = path.parent / path.stem / "class"
    folder.mkdir(parents=True)
    (folder / f"{path.stem}.png").write_bytes(path.read_bytes())  # Pillow looks at the content, timm at the ending
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(ImageDataset(str(folder.parent))[0][0])


def as_here(path: Path, mode: str = "RGB") -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would come once an image and worker
        return np.asarray(ToMode(mode)(decoded(str(path), str(path))))


@pytest.mark.parametrize("name", KINDS)
def test_an_image_has_the_pixels_that_timm_reads(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    image = KINDS[name]()
    image.save(path, **({"transparency": image.info["transparency"]} if "transparency" in image.info else {}))
    assert np.array_equal(as_here(path), as_timm(path))
    with warnings.catch_warnings(), Image.open(path) as opened:
        warnings.simplefilter("ignore")
        convertible = opened.convert("RGB") if opened.mode == "LAB" else opened
        assert np.array_equal(as_here(path, "L"), np.asarray(convertible.convert("L")))


@pytest.mark.parametrize("alpha", [0, 128])
def test_transparency_is_dropped_and_nothing_is_composed(alpha: int, tmp_path: Path) -> None:
    """timm's reader converts to RGB: what is transparent has the color that is stored, and need not be black."""
    path = tmp_path / "image.png"
    Image.new("RGBA", (2, 2), (200, 30, 90, alpha)).save(path)
    assert as_timm(path)[0, 0].tolist() == [200, 30, 90]
    assert as_here(path)[0, 0].tolist() == [200, 30, 90]


@pytest.mark.parametrize("name", ["pages.tif", "moves.webp", "moves.gif", "moves.png"])
def test_of_several_pictures_the_first_is_read(name: str, tmp_path: Path) -> None:
    pictures = [Image.fromarray(COLOR), Image.fromarray(255 - COLOR), Image.fromarray(COLOR[::-1])]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
    assert np.array_equal(as_here(tmp_path / name), as_timm(tmp_path / name))
    if not name.endswith((".webp", ".gif")):  # lossy, or of few colors
        assert np.array_equal(as_here(tmp_path / name), COLOR)


@pytest.mark.parametrize(
    ("kind", "ending"),
    [(np.uint16, "png"), (np.uint16, "tif"), (np.uint16, "pgm"), (np.int32, "tif"), (np.int32, "pgm")],
)
def test_sixteen_bits_are_scaled_by_their_range(kind: type, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"ramp.{ending}"
    ramp = np.arange(65536, dtype=kind).reshape(256, 256)
    Image.fromarray(ramp).save(path)
    found = as_here(path, "L")
    assert len(np.unique(found)) == 256
    assert np.array_equal(found, np.rint(ramp / 257).astype(np.uint8))
    assert np.array_equal(as_here(path)[..., 1], found)


def test_floating_point_is_scaled_from_zero_to_one(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    Image.fromarray(np.linspace(0, 1, 1024, dtype=np.float32).reshape(32, 32)).save(path)
    assert np.unique(as_here(path)).tolist() == list(range(256))


def tiff(levels: np.ndarray, bits: int, **tags: int) -> bytes:
    """A gray TIFF of one strip, of a kind that Pillow reads and does not write; `levels` are the bytes of the strip."""
    side = int((levels.nbytes * 8 / bits) ** 0.5)
    entries = {256: side, 257: side, 258: bits, 259: 1, 262: tags.get("photometric", 1), 273: 8, 277: 1, 278: side,
               279: levels.nbytes, 339: tags.get("kind", 1)}  # fmt: skip
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    head = b"II*\0" + struct.pack("<I", 8 + levels.nbytes)
    return head + levels.tobytes() + struct.pack("<H", len(entries)) + rows + bytes(4)


def test_twelve_bits_are_scaled_by_their_range(tmp_path: Path) -> None:
    ramp = np.arange(4096)
    two = ramp.reshape(-1, 2)  # two levels take three bytes
    packed = np.stack([two[:, 0] >> 4, (two[:, 0] & 15) << 4 | two[:, 1] >> 8, two[:, 1] & 255], 1).astype(np.uint8)
    (tmp_path / "ramp.tif").write_bytes(tiff(packed, 12))
    assert np.array_equal(as_here(tmp_path / "ramp.tif", "L").ravel(), np.rint(ramp * 255 / 4095).astype(np.uint8))


def test_signed_levels_are_scaled_to_the_largest(tmp_path: Path) -> None:
    ramp = np.arange(0, 32768, 8, dtype=np.int16)
    (tmp_path / "ramp.tif").write_bytes(tiff(ramp, 16, kind=2))
    assert np.array_equal(as_here(tmp_path / "ramp.tif", "L").ravel(), np.rint(ramp / 32767 * 255).astype(np.uint8))


@pytest.mark.parametrize(("dtype", "bits", "kind"), [(np.uint8, 8, 1), (np.uint16, 16, 1), (np.float32, 32, 3)])
def test_where_white_is_zero_the_levels_are_turned_round(dtype: type, bits: int, kind: int, tmp_path: Path) -> None:
    ramp = np.arange(256)
    levels = (ramp / 255 if dtype is np.float32 else ramp * (257 if bits == 16 else 1)).astype(dtype)
    (tmp_path / "ramp.tif").write_bytes(tiff(levels, bits, kind=kind, photometric=0))
    assert as_here(tmp_path / "ramp.tif", "L").ravel().tolist() == list(range(255, -1, -1))


@pytest.mark.parametrize("ending", ["avif", "png", "jpg", "webp", "tif", "gif", "jp2"])
def test_a_file_that_ends_too_early_is_named(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"cut.{ending}"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=f"cut.{ending}: not a readable image"):
        decoded(str(path), str(path))


def test_an_image_is_decoded_without_a_warning(tmp_path: Path) -> None:
    Image.fromarray(COLOR).save(tmp_path / "a.jpg")
    jpeg = (tmp_path / "a.jpg").read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(4)  # of more entries than it has
    path = tmp_path / "b.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(
            np.asarray(decoded(str(path), "", exif=True)), np.asarray(decoded(str(tmp_path / "a.jpg"), ""))
        )
        assert look_at([str(path)] * 20)[str(path)].fault is None


@pytest.mark.parametrize(
    ("levels", "line"),
    [
        (np.array([[0.0, 1.5]], np.float32), "has floating-point levels from 0 to 1.5, not 0 to 1: convert it"),
        (np.array([[np.nan, 0]], np.float32), "has floating-point levels from nan to nan, not 0 to 1: convert it"),
        (np.array([[-1, 5]], np.int32), "has gray levels from -1 to 5 (mode I), not 0 to 65535: convert it"),
        (np.array([[0, 65536]], np.int32), "has gray levels from 0 to 65536 (mode I), not 0 to 65535: convert it"),
    ],
)
def test_levels_of_an_unknown_range_are_refused(levels: np.ndarray, line: str, tmp_path: Path) -> None:
    path = tmp_path / "levels.tif"
    Image.fromarray(levels).save(path)
    with pytest.raises(DataError) as error:
        decoded(str(path), str(path))
    assert message(error) == f"{path}: {line}"


def test_a_mode_that_cannot_be_converted_names_its_file() -> None:
    with pytest.raises(DataError) as error:
        eight_bit(Image.new("La", (4, 4)), "a/b.tif")
    assert message(error) == "a/b.tif: its mode La cannot be converted (conversion from La to L not supported)"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_an_image_where_asked_and_else_not(orientation: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(COLOR).save(path, exif=exif)
    assert np.array_equal(np.asarray(decoded(str(path), "")), COLOR)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(np.asarray(decoded(str(path), "", exif=True)), expected)


def test_every_ending_that_pillow_decodes_counts_as_an_image() -> None:
    endings = image_endings()
    assert {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".apng", ".bmp", ".gif", ".webp", ".tif", ".tiff"} <= endings
    assert {".ppm", ".pgm"} <= endings
    assert not endings & {".txt", ".csv", ".pdf", ".h5", ".hdf", ".mpg", ".json", ".npy", ".eps"}
