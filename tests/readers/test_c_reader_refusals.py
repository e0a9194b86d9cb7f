"""The reader in C refuses every damaged and forged file without a complaint of a sanitizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import pwfn
from tests.support.artifact.c_reader import run, verdicts
from tests.support.artifact.damage import cuts, flips
from tests.support.artifact.forge import Forge, whole
from tests.support.artifact.forged_headers import FORMS as FORGED_FORMS
from tests.support.artifact.forged_headers import HEADERS
from tests.support.artifact.forged_json import TEXTS
from tests.support.artifact.forged_sections import SECTIONS
from tests.support.artifact.random_forgeries import random_forgeries


def all_refused(dump: Path, paths: Sequence[Path]) -> None:
    said = verdicts(dump, paths)
    assert [path for path, line in zip(paths, said, strict=True) if not line.startswith("refused: ")] == []


@pytest.mark.slow
def test_every_damaged_file(dump: Path, artifact: Path, tmp_path: Path) -> None:
    content = artifact.read_bytes()
    damaged = [content[:position] for position in cuts(content)]
    damaged += [bytes(flipped) for _, flipped in flips(content)]
    damaged += [content + b"\0", b"", b"state_dict: 1\n" * 1000]
    paths = [tmp_path / str(number) for number in range(len(damaged))]
    for path, one in zip(paths, damaged, strict=True):
        path.write_bytes(one)
    (tmp_path / "folder").mkdir()
    assert len(paths) == 703
    all_refused(dump, [*paths, tmp_path / "folder", tmp_path / "nowhere"])
    assert verdicts(dump, [artifact]) == ["sound"]


def described(path: Path) -> bool:
    try:
        pwfn.describe(path)
    except pwfn.ArtifactError:
        return False
    return True


def forged(artifact: Path, changes: Mapping[str, tuple[Callable[[Any], object], Any]], folder: Path) -> list[Path]:
    """Write the artifact once for each change of its header."""
    paths = []
    for name, (change, _) in changes.items():
        forge = Forge(artifact)
        change(forge.header)
        paths.append(forge.seal(folder / name.replace(" ", "_")))
    return paths


@pytest.mark.slow
def test_forged_headers(dump: Path, artifact: Path, tmp_path: Path) -> None:
    """What `describe` refuses is refused. The others forge the model, which only Python builds, or the weights."""
    paths = forged(artifact, HEADERS, tmp_path)
    unsound = [path for path in paths if not described(path)]
    assert len(unsound) > 45
    all_refused(dump, unsound)
    of_weights = [tmp_path / name for name in ("checksum_of_other_weights", "tables_without_end", "shape_that_is_huge")]
    all_refused(dump, of_weights)
    verdicts(dump, paths)


@pytest.fixture(scope="module")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("smaller"), "folded_float16")


def test_forged_headers_of_version_2(dump: Path, smaller: Path, tmp_path: Path) -> None:
    paths = forged(smaller, FORGED_FORMS, tmp_path)
    forge = Forge(smaller)
    forge.version = 1
    paths.append(forge.seal(tmp_path / "version_1"))
    assert verdicts(dump, [smaller]) == ["sound"]
    unsound = [path for path in paths if not described(path)]
    assert len(unsound) > 13
    all_refused(dump, unsound)
    verdicts(dump, paths)


@pytest.mark.slow
def test_damaged_files_of_version_2(dump: Path, smaller: Path, tmp_path: Path) -> None:
    paths = []
    for number, (_, flipped) in enumerate(flips(smaller.read_bytes())):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(bytes(flipped))
    all_refused(dump, paths)


def randomly_forged(dump: Path, file: Path, folder: Path) -> tuple[list[Path], list[Path]]:
    """The forgeries that the reader refuses, and those it calls sound, which Python can read as well."""
    paths = [forge.seal(folder / str(number)) for number, (forge, _) in enumerate(random_forgeries(file))]
    said = dict(zip(paths, verdicts(dump, paths), strict=True))
    sound = [path for path in paths if said[path] == "sound"]
    assert [path for path in sound if not described(path)] == []
    return [path for path in paths if path not in sound], sound


@pytest.mark.slow
def test_random_forgeries_of_version_2(dump: Path, smaller: Path, tmp_path: Path) -> None:
    refused, _ = randomly_forged(dump, smaller, tmp_path)
    assert len(refused) > 200


def test_forged_json(dump: Path, artifact: Path, tmp_path: Path) -> None:
    paths = []
    for name, (change, _) in TEXTS.items():
        forge = Forge(artifact)
        forge.header["class_names"] = ["abc"]
        paths.append(forge.seal(tmp_path / name, text=change(json.dumps(forge.header))))
    for number, (length, version) in enumerate([(0, 1), (2**31, 1), (2**32 - 1, 1), (None, 0), (None, 2)]):
        forge = Forge(artifact)
        forge.version = version
        paths.append(forge.seal(tmp_path / f"preamble{number}", length=length))
    all_refused(dump, paths)


def test_forged_sections(dump: Path, artifact: Path, tmp_path: Path) -> None:
    paths = []
    for name, (change, *_) in SECTIONS.items():
        forge = Forge(artifact)
        change(forge)
        paths.append(forge.seal(tmp_path / name))
    all_refused(dump, paths)


def test_classes_and_shapes_that_do_not_belong_together(dump: Path, artifact: Path, tmp_path: Path) -> None:
    """Shapes of the same product, and sizes whose product overflows: the reader in C has no model to compare with."""

    def shape(*sizes: int) -> Callable[[Forge], None]:
        return lambda forge: forge.header["coded"][0].update(shape=list(sizes))

    changes = [shape(0, 2**40, 2**40, 2**40), shape(2**40, 2**40, 2**40, 2**40), shape(2**20, 2**20), shape(1, 0)]
    changes += [lambda forge: forge.header["coded"][0].update(classes=[256, 256, 256])]
    changes += [lambda forge: forge.replace("contexts", bytes(255 for _ in forge.section("contexts")))]
    paths = []
    for number, change in enumerate(changes):
        forge = Forge(artifact)
        change(forge)
        paths.append(forge.seal(tmp_path / str(number)))
    all_refused(dump, paths)


@pytest.mark.slow
def test_random_forgeries(dump: Path, artifact: Path, tmp_path: Path) -> None:
    """A forged file is refused, or gives the weights that its own checksum asks for, which are the true ones."""
    refused, sound = randomly_forged(dump, artifact, tmp_path)
    assert 250 < len(refused) < 400
    run(dump, artifact, "--values", tmp_path / "wanted")
    for path in sound:
        run(dump, path, "--values", tmp_path / "found")
        assert (tmp_path / "found").read_bytes() == (tmp_path / "wanted").read_bytes()
