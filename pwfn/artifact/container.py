"""Write and read an artifact's container: magic, version, compressed JSON header, sections, checksums.

Reads with the standard library alone and believes nothing: every claimed size is held against the size of the file
before a byte is allocated for it. docs/artifact.md has the layout for readers in other languages.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pwfn.errors import RunError, one_line
from pwfn.records.files import replacing

Buffer = bytes | bytearray | memoryview

MAGIC = b"\x89PWFN\r\n\x1a"  # like PNG's: a transfer that changes line ends or strips the eighth bit shows at once
VERSIONS = (1, 2)  # 2 only where the tensors that are not coded are in another form than the network has them
PREAMBLE = struct.Struct("<8sIII32s")  # magic, version, bytes of the header as stored and as JSON, SHA-256 as stored
DIGEST = 32  # bytes of the SHA-256 at the end of the file, over everything before it
MAX_HEADER = 8 << 20  # bytes of JSON
ZLIB_RATIO = 1032  # DEFLATE cannot shrink anything further


class ArtifactError(RunError):
    """Refuse a file that is not a sound artifact, or a network that cannot become one, in one line."""


def write(path: Path, version: int, header: dict[str, Any], sections: Sequence[Buffer]) -> int:
    """Replace a file by header and sections; a crash or a full disk leaves the old one or the new one.

    Args:
        path: the file.
        version: of the format.
        header: JSON values.
        sections: in the order of the format.

    Returns:
        The size of the file in bytes.

    Raises:
        ArtifactError: the header is too large.
        OSError: the file cannot be written.
    """
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
    stored = zlib.compress(text, 9)
    if len(text) > MAX_HEADER:
        raise ArtifactError(f"the header would have {len(text)} bytes of JSON, at most {MAX_HEADER} are allowed")
    head = PREAMBLE.pack(MAGIC, version, len(stored), len(text), hashlib.sha256(stored).digest()) + stored
    digest, total = hashlib.sha256(), 0
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        for part in (head, *sections):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())
        total = file.tell()
    return total


def read_header(path: Path) -> tuple[int, bytes, int, int]:
    """Return version, header as JSON text, and the bytes of all sections together and of the file.

    Raises:
        ArtifactError: the file cannot be read, is no artifact, or its header is damaged.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        preamble = file.read(PREAMBLE.size)
        text = _header(path, preamble, file, size)
    _, version, stored, _, _ = PREAMBLE.unpack(preamble)
    return version, text, size - PREAMBLE.size - stored - DIGEST, size


def read(path: Path) -> tuple[int, bytes, memoryview]:
    """Return version, header as JSON text and the bytes of all sections, once the checksums are right.

    Raises:
        ArtifactError: the file cannot be read, is no artifact, or is damaged.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        preamble = file.read(PREAMBLE.size)
        text = _header(path, preamble, file, size)  # first: what is no artifact is not read to its end
        file.seek(0)
        content = memoryview(file.read(size))
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise ArtifactError(f"{path} is damaged or cut short: its checksum is wrong")
    _, version, stored, _, _ = PREAMBLE.unpack(preamble)
    return version, text, content[PREAMBLE.size + stored : -DIGEST]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read; an error of the system becomes an ArtifactError."""
    try:
        if not path.is_file():  # a folder, or a pipe that would be waited for without end
            raise ArtifactError(f"{one_line(path)} is not a file")
        with path.open("rb") as file:
            yield file
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{one_line(path)} cannot be read: {one_line(error)}") from error


def _header(path: Path, preamble: bytes, file: BinaryIO, size: int) -> bytes:
    """Check the preamble, then read, verify and inflate the header that comes next in `file`."""
    if len(preamble) < PREAMBLE.size or preamble[:8] != MAGIC:
        raise ArtifactError(f"{path} is not a pwfn artifact (it does not begin with the bytes of one)")
    _, version, stored, length, digest = PREAMBLE.unpack(preamble)
    if version not in VERSIONS:
        raise ArtifactError(
            f"{path} has format version {version}; this pwfn reads versions {' and '.join(map(str, VERSIONS))}"
        )
    if PREAMBLE.size + stored + DIGEST > size:
        raise ArtifactError(f"{path} is cut short: its header alone has {stored} bytes, the file {size}")
    if length > min(MAX_HEADER, ZLIB_RATIO * stored):
        raise ArtifactError(f"{path}: a header of {length} bytes cannot come out of {stored} bytes")
    content = file.read(stored)
    if hashlib.sha256(content).digest() != digest:
        raise ArtifactError(f"{path} is damaged: the checksum of its header is wrong")
    return inflate(content, length, f"{path}: the header")


def inflate(content: Buffer, length: int, what: str) -> bytes:
    """Decompress to exactly `length` bytes; never allocates more.

    Args:
        content: of zlib.
        length: that it must have.
        what: what it is, for the message.

    Returns:
        The bytes.

    Raises:
        ArtifactError: it cannot be decompressed, or has another length.
    """
    engine = zlib.decompressobj()
    try:
        text = engine.decompress(content, length + 1)
    except zlib.error as error:
        raise ArtifactError(f"{what} cannot be decompressed: {one_line(error)}") from error
    if len(text) != length or not engine.eof or engine.unused_data:
        raise ArtifactError(f"{what} does not decompress to the {length} bytes it should have")
    return text


def parse_json(text: bytes, what: str) -> Any:
    """Parse strict JSON: no duplicate keys, no NaN, no nesting without end; raise ArtifactError."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a key occurs twice")
        return found

    def constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{what} is not readable JSON: {one_line(error)}") from error
