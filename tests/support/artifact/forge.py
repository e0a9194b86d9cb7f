"""Take an artifact apart, change it, and seal it again with right checksums; how it is refused."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pwfn
from pwfn.artifact.container import PREAMBLE
from pwfn.artifact.plain_form import PlainForm
from tests.support.clustered import clustered

DEFLATED = ("contexts", "tables", "sigma_tables")


class Forge:
    """`header` (a dict) and `sections` (bytes as stored, by name) may be changed; `seal` writes what they are then."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.magic, self.version, stored, _, _ = PREAMBLE.unpack(content[: PREAMBLE.size])
        at = PREAMBLE.size + stored
        self.header: dict[str, Any] = json.loads(zlib.decompress(content[PREAMBLE.size : at]))
        self.sections: dict[str, bytes] = {}
        for section in self.header["sections"]:
            self.sections[section["name"]] = content[at : at + section["stored"]]
            at += section["stored"]

    def section(self, name: str) -> bytearray:
        """The bytes of a section, inflated."""
        content = self.sections[name]
        return bytearray(zlib.decompress(content) if name in DEFLATED else content)

    def replace(self, name: str, content: bytes) -> None:
        """Put other bytes into a section, and their right size into the header."""
        self.sections[name] = zlib.compress(content) if name in DEFLATED else bytes(content)
        for section in self.header["sections"]:
            if section["name"] == name:
                section.update(size=len(content), stored=len(self.sections[name]))

    def seal(self, path: Path, text: bytes | None = None, length: int | None = None) -> Path:
        """Write the file. `text` stands for the header's JSON, `length` for the size it claims."""
        text = json.dumps(self.header).encode() if text is None else text
        stored = zlib.compress(text)
        size = len(text) if length is None else length
        head = PREAMBLE.pack(self.magic, self.version, len(stored), size, hashlib.sha256(stored).digest())
        content = head + stored + b"".join(self.sections.values())
        path.write_bytes(content + hashlib.sha256(content).digest())
        return path


MEMORY = 40e6  # bytes; the small network that is read takes 1.5 MB, so anything that believes a huge number shows


def whole(folder: Path, plain: PlainForm = "exact") -> Path:
    """An artifact of a small network with free weights, sigmas and every kind of section."""
    path = folder / "model.pwfn"
    pwfn.save(path, clustered("test_resnet", fraction=0.9), class_names=list("abcde"), sigma=True, plain=plain)
    pwfn.load(path)
    pwfn.load(path, posterior=True)
    return path


def refused(path: Path, check: str, *, read: Callable[..., Any] = pwfn.load, **options: Any) -> None:
    """Assert that reading is refused by the check whose message holds `check`, in one line and little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(pwfn.ArtifactError, match=re.escape(check)) as error:
            read(path, **options)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700
