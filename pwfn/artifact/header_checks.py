"""Check a header against itself and the size of the file, before anything is allocated for it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pydantic import ValidationError

from pwfn.artifact.container import ZLIB_RATIO, ArtifactError, parse_json
from pwfn.artifact.header import MOST_WEIGHTS, Header, Section, view_shape
from pwfn.errors import one_line

CODED_TENSORS = ("contexts", "tables", "symbols", "free")  # sections, in the order in which they lie in the file
SIGMAS = ("sigma_values", "sigma_tables", "sigma_symbols", "sigma_free")
DEFLATED = ("contexts", "tables", "sigma_tables")  # the others are not compressed
WORDS = ("symbols", "sigma_symbols", "sigma_free")  # of four bytes each


def parse_header(text: bytes, payload: int, version: int) -> Header:
    """Read a header's JSON text.

    Args:
        text: the JSON.
        payload: bytes of all sections in the file.
        version: the format version that the file names.

    Returns:
        The header, sound in itself and for this file.

    Raises:
        ArtifactError: the text is not JSON, not a header, or contradicts itself or the size of the file.
    """
    parse_json(text, "the header")  # pydantic's own reader takes NaN and keys that occur twice
    try:
        header = Header.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"the header is not sound: {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the header is not sound: {one_line(error)}") from error
    for fault in _faults(header, payload, version):
        raise ArtifactError(f"the header is not sound: {one_line(fault)}")
    return header


def reason_of(error: ValidationError) -> str:
    """Name the first field that is wrong and what is wrong with it, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return one_line(f"{place}: {first['msg']}" if place else first["msg"])


def _faults(header: Header, payload: int, version: int) -> Iterator[str]:
    """Yield contradictions, the first of which is reported; the later checks rely on the earlier ones."""
    yield from _form_faults(header, version)
    if [section.name for section in header.sections] != _section_names(header):
        yield "the sections are not those of this format"
    if sum(section.stored for section in header.sections) != payload:
        yield f"the sections do not add up to the {payload} bytes there are"
    if len(set(header.names)) != len(header.names):
        yield "a tensor occurs twice"
    if header.weights > MOST_WEIGHTS or any(one.free > one.size for one in header.coded):
        yield "the number of weights is impossible"
    if header.entries > header.weights:
        yield "the codebook has more entries than there are weights"
    sizes = _sizes(header)
    for section in header.sections:
        yield from _section_faults(section, sizes.get(section.name), header.weights)


def _form_faults(header: Header, version: int) -> Iterator[str]:
    """Check the form of tensors that are not coded against the version, and filled ones against others."""
    if header.version != version:
        yield f"plain_form must be null in format version 1 and a form in 2, it is {header.plain_form} in {version}"
    if header.filled and "folded" not in (header.plain_form or ""):
        yield f"filled must be empty where plain_form is {header.plain_form}"
    if sum(math.prod(one.shape) for one in header.filled) > sum(math.prod(one.shape) for one in header.plain):
        yield "filled has more elements than plain, though each BatchNorm has as many in both"


def _section_names(header: Header) -> list[str]:
    return [*CODED_TENSORS, "plain", *(SIGMAS if header.sigma is not None else ())]


def _section_faults(section: Section, size: int | None, weights: int) -> Iterator[str]:
    """Hold a section against the `size` it must have, if any, and against what its stored bytes can hold."""
    if size is not None and section.size != size:
        yield f"section {section.name} must have {size} bytes, not {section.size}"
    if section.name in DEFLATED:
        possible = -(-section.size // ZLIB_RATIO) <= section.stored
    else:
        possible = section.size == section.stored
    if not possible:
        yield f"section {section.name} cannot have {section.size} bytes in {section.stored}"
    if section.size > 8 * weights + (1 << 20) and section.name not in ("plain", *SIGMAS):
        yield f"section {section.name} is larger than the weights it is for"
    if section.name in WORDS and section.size % 4:
        yield f"section {section.name} must have a multiple of four bytes"


def _sizes(header: Header) -> dict[str, int]:
    """Work out the size when inflated of each section for which the rest of the header says it."""
    contexts = 0
    for one in header.coded:
        contexts += 2 * math.prod(one.classes)
        contexts += sum(size for size, classes in zip(view_shape(one.shape), one.classes, strict=True) if classes > 1)
    sizes = {
        "contexts": contexts,
        "tables": header.tables * (header.entries + 1),
        "free": 4 * header.free,
        "plain": sum(one.nbytes for one in header.plain),
    }
    if header.sigma is not None:
        sizes["sigma_values"] = 4 * header.sigma
        sizes["sigma_tables"] = (header.entries + 1) * (header.sigma + 1)
    return sizes
