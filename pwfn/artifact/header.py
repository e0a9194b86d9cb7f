"""What stands in an artifact's header, as types that refuse everything else; light to import, so is `describe`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pwfn.artifact.container import ZLIB_RATIO, ArtifactError, parse_json
from pwfn.errors import one_line

MOST_WEIGHTS = 1 << 40
MOST_ENTRIES = (1 << 16) - 1
CODED_TENSORS = ("contexts", "tables", "symbols", "free")  # sections, in the order in which they lie in the file
SIGMAS = ("sigma_values", "sigma_tables", "sigma_symbols", "sigma_free")
DEFLATED = ("contexts", "tables", "sigma_tables")  # the others are stored as they are
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # dtypes, named as safetensors names them  # fmt: skip

Shape3 = tuple[int, int, int]
Count = Annotated[int, Field(ge=0, le=MOST_WEIGHTS)]
Shape = Annotated[tuple[Count, ...], Field(max_length=8)]
Name = Annotated[str, Field(pattern=r"^\w+(\.\w+)*$", max_length=300)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Classes3 = tuple[
    Annotated[int, Field(ge=1, le=256)], Annotated[int, Field(ge=1, le=256)], Annotated[int, Field(ge=1, le=256)]
]
Side = Annotated[int, Field(ge=1, le=16384)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Bits32 = Annotated[int, Field(ge=0, lt=1 << 32)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Recipe(_Strict):
    """How timm builds the model: `timm.create_model(name, num_classes=, in_chans=, **args)`; `bytes` it then takes."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)?$", max_length=100)]
    num_classes: Annotated[int, Field(ge=0, le=10_000_000)]
    in_chans: Annotated[int, Field(ge=1, le=4096)]
    args: dict[str, Any]
    bytes: Count


class Preprocessing(_Strict):
    """timm's data config: how an image becomes what the network is given. `input_size` is [channels, height, width]."""

    input_size: tuple[Side, Side, Side]
    interpolation: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "random"]
    mean: Annotated[tuple[Finite, ...], Field(min_length=1)]
    std: Annotated[tuple[Finite, ...], Field(min_length=1)]
    crop_pct: Annotated[float, Field(gt=0, le=16)]
    crop_mode: Literal["center", "squash", "border"]


class Codebook(_Strict):
    """The shared values, ascending: `numerators * 2^exponent`, or their float32 `bits` where there is no such grid."""

    exponent: Annotated[int, Field(ge=-149, le=127)] | None = None
    numerators: tuple[int, ...] | None = None
    bits: tuple[Bits32, ...] | None = None

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Codebook:
        bits = tuple(values.view(np.uint32).tolist())
        if not len(values) or (bits.count(0x80000000)):
            return cls(bits=bits)
        significand, exponents = np.frexp(values.astype(np.float64))
        whole = (significand * 2.0**24).astype(np.int64)  # exact: float32 has 24 bits
        trailing = np.log2(np.maximum(whole & -whole, 1)).astype(np.int64)
        least = int(np.min((exponents - 24 + trailing)[whole != 0], initial=127))
        numerators = tuple(int(math.ldexp(value, -least)) for value in values.tolist())
        if max(map(abs, numerators)) >= 1 << 53 or not -149 <= least <= 127:
            return cls(bits=bits)
        return cls(exponent=least, numerators=numerators)

    def values(self) -> NDArray[np.float32]:
        """float32 [entries]; raises ArtifactError for what float32 cannot hold exactly."""
        if (self.numerators is None) == (self.bits is None) or (self.exponent is None) != (self.numerators is None):
            raise ArtifactError("the codebook must have either exponent and numerators or bits")
        if self.bits is not None:
            values = np.array(self.bits, dtype=np.uint32).view(np.float32)
        else:
            assert self.numerators is not None and self.exponent is not None
            if any(abs(n) >= 1 << 53 for n in self.numerators):
                raise ArtifactError("a numerator of the codebook does not fit 53 bits")
            exact = np.array([math.ldexp(n, self.exponent) for n in self.numerators], dtype=np.float64)
            with np.errstate(over="ignore"):
                values = exact.astype(np.float32)
            if (values != exact).any():
                raise ArtifactError("an entry of the codebook is no float32 number")
        if len(values) > MOST_ENTRIES or not np.isfinite(values).all() or (np.diff(values) < 0).any():
            raise ArtifactError(f"the codebook must be at most {MOST_ENTRIES} finite values in ascending order")
        return values


class _Tensor(_Strict):
    """What every tensor has: the names it goes by in the state dict (several where it is tied), and its shape."""

    names: Names
    shape: Shape


class Coded(_Tensor):
    """A tensor of weights: classes of its three axes, and how many weights are `free` (in no codebook entry)."""

    classes: Classes3
    free: Count

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Plain(_Tensor):
    """A tensor that is stored as it is."""

    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class Section(_Strict):
    """Bytes in the file (`stored`) and after inflating (`size`; the same where nothing is deflated)."""

    name: str
    stored: Count
    size: Count


class Header(_Strict):
    """The header of an artifact. `weights_sha256` is over the decoded weights: float32, little endian, in order."""

    writer: dict[str, str]
    model: Recipe | None
    data: Preprocessing | None
    class_names: tuple[str, ...] | None
    config: dict[str, Any] | None
    metrics: dict[str, Any] | None
    receipt: dict[str, Any]
    codebook: Codebook
    coded: Annotated[tuple[Coded, ...], Field(min_length=1)]
    plain: tuple[Plain, ...]
    tables: Annotated[int, Field(ge=1, le=1 << 16)]
    sigma: Annotated[int, Field(ge=0, le=MOST_ENTRIES)] | None  # values that sigmas share; null: there are no sigmas
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    sections: tuple[Section, ...]

    @property
    def weights(self) -> int:
        """How many weights are coded."""
        return sum(one.size for one in self.coded)

    @property
    def free(self) -> int:
        return sum(one.free for one in self.coded)

    @property
    def entries(self) -> int:
        book = self.codebook
        return len(book.numerators if book.numerators is not None else book.bits or ())

    @property
    def tensors(self) -> tuple[_Tensor, ...]:
        return (*self.coded, *self.plain)

    @property
    def names(self) -> list[str]:
        return [name for one in self.tensors for name in one.names]


def reason_of(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    return one_line(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


def parse(text: bytes, payload: int) -> Header:
    """The header, held against itself and against the `payload` bytes that follow it; raises ArtifactError."""
    parse_json(text, "the header")  # pydantic's own reader takes NaN and keys that occur twice
    try:
        header = Header.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"the header is not sound: {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the header is not sound: {one_line(error)}") from error
    for fault in _faults(header, payload):
        raise ArtifactError(f"the header is not sound: {one_line(fault)}")
    return header


def _faults(header: Header, payload: int) -> list[str]:
    """What contradicts itself. Nothing that is asked for may be larger than what the file can hold."""
    faults = []
    sections = {section.name: section for section in header.sections}
    if [section.name for section in header.sections] != [
        *CODED_TENSORS,
        "plain",
        *(SIGMAS if header.sigma is not None else ()),
    ]:
        return ["the sections are not those of this format"]
    if sum(section.stored for section in header.sections) != payload:
        return [f"the sections do not add up to the {payload} bytes there are"]
    if len(set(header.names)) != len(header.names):
        faults.append("a tensor occurs twice")
    if header.weights > MOST_WEIGHTS or any(one.free > one.size for one in header.coded):
        faults.append("the number of weights is impossible")
    if header.entries > header.weights:
        faults.append("the codebook has more entries than there are weights")
    for name, size in _sizes(header).items():
        section = sections[name]
        if size is not None and section.size != size:
            faults.append(f"section {name} must have {size} bytes, not {section.size}")
        least = -(-section.size // ZLIB_RATIO) if name in DEFLATED else section.size
        if not (least <= section.stored if name in DEFLATED else least == section.stored):
            faults.append(f"section {name} cannot have {section.size} bytes in {section.stored}")
        if section.size > 8 * header.weights + (1 << 20) and name not in ("plain", *SIGMAS):
            faults.append(f"section {name} is larger than the weights it is for")
    for name in ("symbols", "sigma_symbols", "sigma_free"):
        if name in sections and sections[name].size % 4:
            faults.append(f"section {name} must have a multiple of four bytes")
    return faults


def _sizes(header: Header) -> dict[str, int | None]:
    """What the size of each section must be, None where any will do."""
    contexts = 0
    for one in header.coded:
        contexts += 2 * math.prod(one.classes)
        contexts += sum(size for size, classes in zip(view_shape(one.shape), one.classes, strict=True) if classes > 1)
    sizes: dict[str, int | None] = {
        "contexts": contexts,
        "tables": header.tables * (header.entries + 1),
        "symbols": None,
        "free": 4 * header.free,
        "plain": sum(one.nbytes for one in header.plain),
    }
    if header.sigma is not None:
        sizes |= {
            "sigma_values": 4 * header.sigma,
            "sigma_tables": (header.entries + 1) * (header.sigma + 1),
            "sigma_symbols": None,
            "sigma_free": None,
        }
    return sizes


def view_shape(shape: tuple[int, ...]) -> Shape3:
    """[a, b, c] as which a tensor is coded: without sizes of 1 the first, the second, and all others together."""
    long = [size for size in shape if size != 1]
    a, b = [*long, 1, 1][:2]
    return a, b, math.prod(long[2:])


def is_name(name: str) -> bool:
    """Whether a state dict's key can stand in a header."""
    return re.fullmatch(r"\w+(\.\w+)*", name) is not None and len(name) <= 300
