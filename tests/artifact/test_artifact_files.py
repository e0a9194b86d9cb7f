"""Damaged artifacts, by accident: always an ArtifactError of one line, and no memory that the file does not justify."""

from __future__ import annotations

from pathlib import Path

import pytest

import pwfn
from tests.support.artifact.damage import cuts, flips, header_end
from tests.support.artifact.forge import refused, whole

BEGIN = "is not a pwfn artifact"
# the checks of the file itself: magic, version, sizes, and the two checksums
CONTAINER = rf"{BEGIN}|format version|is cut short|cannot come out of|checksum.* is wrong|does not decompress to"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("artifact"))


def test_truncated_anywhere(artifact: Path, tmp_path: Path) -> None:
    content = artifact.read_bytes()
    positions = cuts(content)
    assert len(positions) == 200
    for position in positions:
        (tmp_path / "cut").write_bytes(content[:position])
        with pytest.raises(pwfn.ArtifactError, match=CONTAINER):
            pwfn.load(tmp_path / "cut")
        if position < 60:
            with pytest.raises(pwfn.ArtifactError, match=CONTAINER):
                pwfn.describe(tmp_path / "cut")


def test_any_flipped_byte(artifact: Path, tmp_path: Path) -> None:
    content = artifact.read_bytes()
    head = header_end(content)
    for position, damaged in flips(content):
        (tmp_path / "flipped").write_bytes(damaged)
        with pytest.raises(pwfn.ArtifactError, match=CONTAINER) as error:
            pwfn.load(tmp_path / "flipped")
        assert "\n" not in str(error.value)
        if position < head:
            with pytest.raises(pwfn.ArtifactError, match=CONTAINER):
                pwfn.describe(tmp_path / "flipped")


def test_bytes_after_the_end(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(artifact.read_bytes() + b"\0")
    refused(tmp_path / "long", "is damaged or cut short: its checksum is wrong")
    refused(tmp_path / "long", "do not add up to the ", read=pwfn.describe)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("state_dict: 1\n" * 1000)
    (tmp_path / "folder").mkdir()
    for name in ("empty", "text", "folder", "nowhere", "null\0byte", "x" * 5000):
        for read in (pwfn.load, pwfn.describe):
            check = {"empty": BEGIN, "text": BEGIN, "folder": "is not a file", "nowhere": "is not a file"}
            with pytest.raises(pwfn.ArtifactError, match=check.get(name, "cannot be read|is not a file")) as error:
                read(tmp_path / name)
            assert "\n" not in str(error.value)
