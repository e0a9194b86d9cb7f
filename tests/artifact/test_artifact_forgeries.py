"""Hostile artifacts, under right checksums: refused in one line, or harmless."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import pwfn
from pwfn.bayesian.posterior import to_deterministic
from tests.support.artifact.forge import Forge, refused, whole
from tests.support.artifact.forged_headers import FORMS, HEADERS, Change
from tests.support.artifact.forged_json import TEXTS
from tests.support.artifact.forged_sections import SECTIONS
from tests.support.artifact.random_forgeries import random_forgeries


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("artifact"))


def outcome(path: Path, wanted: dict[str, Tensor], *, posterior: bool = False) -> str:
    """What became of a forged file; any other exception than ArtifactError, and any other model, fails the test."""
    try:
        model = pwfn.load(path, posterior=posterior)
    except pwfn.ArtifactError as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"
    state = to_deterministic(model).state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[key], wanted[key]) for key in state)
    return "loaded"


# forged headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "check"), HEADERS.values(), ids=HEADERS.keys())
def test_a_forged_header(change: Change, check: str, artifact: Path, tmp_path: Path) -> None:
    forge = Forge(artifact)
    change(forge.header)
    refused(forge.seal(tmp_path / "forged"), check)


@pytest.fixture(scope="module")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("smaller"), "folded_float16")


@pytest.mark.parametrize(("change", "check"), FORMS.values(), ids=FORMS.keys())
def test_a_forged_header_of_version_2(change: Change, check: str, smaller: Path, tmp_path: Path) -> None:
    forge = Forge(smaller)
    change(forge.header)
    refused(forge.seal(tmp_path / "forged"), check)


def test_a_form_in_version_1(smaller: Path, tmp_path: Path) -> None:
    forge = Forge(smaller)
    forge.version = 1
    refused(forge.seal(tmp_path / "forged"), "plain_form must be null in format version 1")


@pytest.mark.parametrize(("change", "check"), TEXTS.values(), ids=TEXTS.keys())
def test_forged_json(change: Callable[[str], bytes], check: str, artifact: Path, tmp_path: Path) -> None:
    forge = Forge(artifact)
    forge.header["class_names"] = ["abc"]
    path = forge.seal(tmp_path / "forged", text=change(json.dumps(forge.header)))
    refused(path, check)
    refused(path, check, read=pwfn.describe)


@pytest.mark.parametrize(
    ("length", "version"), [(0, 1), (2**31, 1), (2**32 - 1, 1), (None, 0), (None, 2), (None, 2**32 - 1)]
)
def test_a_forged_preamble(length: int | None, version: int, artifact: Path, tmp_path: Path) -> None:
    forge = Forge(artifact)
    forge.version = version
    path = forge.seal(tmp_path / "forged", length=length)
    check = (
        "plain_form must be null in format version 1 and a form in 2, it is None in 2"
        if version == 2
        else f"has format version {version}"
        if version != 1
        else "the header does not"
        if length == 0
        else "cannot come out of"
    )
    refused(path, check)
    refused(path, check, read=pwfn.describe)


# forged sections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "check", "posterior"), SECTIONS.values(), ids=SECTIONS.keys())
def test_a_forged_section(
    change: Callable[[Forge], None], check: str, posterior: bool, artifact: Path, tmp_path: Path
) -> None:
    forge = Forge(artifact)
    change(forge)
    refused(forge.seal(tmp_path / "forged"), check, posterior=posterior)


def test_a_bomb_in_a_section(artifact: Path, tmp_path: Path) -> None:
    """A section that inflates to a gigabyte, whatever the header says of it."""
    forge = Forge(artifact)
    bomb = zlib.compressobj()
    forge.sections["tables"] = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(256)) + bomb.flush()
    forge.header["sections"][1]["stored"] = len(forge.sections["tables"])
    refused(forge.seal(tmp_path / "forged"), "section tables does not decompress to the ")
    forge.header["sections"][1]["size"] = 256 << 20
    refused(forge.seal(tmp_path / "forged"), "section tables must have ")


@pytest.mark.slow
def test_random_forgeries(artifact: Path, tmp_path: Path) -> None:
    """Bytes of sections and values of the header changed at random, under right checksums."""
    tally, wanted = {"refused": 0, "loaded": 0}, pwfn.load(artifact).state_dict()
    for forge, posterior in random_forgeries(artifact):
        tally[outcome(forge.seal(tmp_path / "forged"), wanted, posterior=posterior)] += 1
    assert tally["refused"] > 250


def test_damaged_weights_are_found(tmp_path: Path) -> None:
    artifact = whole(tmp_path)
    for change, check, posterior in SECTIONS.values():
        if not posterior:
            forge = Forge(artifact)
            change(forge)
            refused(forge.seal(tmp_path / "forged"), check, packed=True)


def test_no_posterior_in_a_packed_model(tmp_path: Path) -> None:
    with pytest.raises(pwfn.ArtifactError, match="either packed=True or posterior=True"):
        pwfn.load(whole(tmp_path), packed=True, posterior=True)
