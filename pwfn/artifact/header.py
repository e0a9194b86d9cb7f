"""Type the header of an artifact, and refuse everything else; light to import, as `describe` is."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pwfn.artifact.container import ArtifactError

MOST_WEIGHTS = 1 << 40
MOST_ENTRIES = (1 << 16) - 1
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
    """Keep the arguments of `timm.create_model(name, num_classes=, in_chans=, **args)`.

    `bytes` is the memory that the model then takes.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)?$", max_length=100)]
    num_classes: Annotated[int, Field(ge=0, le=10_000_000)]
    in_chans: Annotated[int, Field(ge=1, le=4096)]
    args: dict[str, Any]
    bytes: Count


class Preprocessing(_Strict):
    """Make an image what the network is given, by timm's data config.

    `input_size` is [channels, height, width].
    """

    input_size: tuple[Side, Side, Side]
    interpolation: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "random"]
    mean: Annotated[tuple[Finite, ...], Field(min_length=1)]
    std: Annotated[tuple[Finite, ...], Field(min_length=1)]
    crop_pct: Annotated[float, Field(gt=0, le=16)]
    crop_mode: Literal["center", "squash", "border"]


class Codebook(_Strict):
    """Hold the shared values, ascending.

    They are `numerators * 2^exponent`, or their float32 `bits` where there is no such grid.
    """

    exponent: Annotated[int, Field(ge=-149, le=127)] | None = None
    numerators: tuple[int, ...] | None = None
    bits: tuple[Bits32, ...] | None = None

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Codebook:
        """Describe values in ascending order, exactly."""
        bits = tuple(values.view(np.uint32).tolist())
        if not len(values) or bits.count(0x80000000):
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
        """Return float32 [entries]; raise ArtifactError for numbers that float32 cannot hold exactly."""
        if (self.numerators is None) == (self.bits is None) or (self.exponent is None) != (self.numerators is None):
            raise ArtifactError("the codebook must have either exponent and numerators or bits")
        if self.bits is not None:
            values = np.array(self.bits, dtype=np.uint32).view(np.float32)
        else:
            assert self.numerators is not None
            assert self.exponent is not None
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
    """Name a tensor of the state dict (several names where it is tied), and its shape."""

    names: Names
    shape: Shape


class Coded(_Tensor):
    """Describe a tensor of weights: classes of its three axes, and how many are `free` (have no entry)."""

    classes: Classes3
    free: Count

    @property
    def size(self) -> int:
        """Return the number of weights."""
        return math.prod(self.shape)


class Plain(_Tensor):
    """Describe a tensor that is not coded."""

    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]

    @property
    def nbytes(self) -> int:
        """Return the bytes of the tensor, in memory and in the file."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class Filled(_Tensor):
    """Describe a float32 vector whose elements are all one number, given by its float32 `bits`."""

    dtype: Literal["F32"]
    bits: Bits32

    @property
    def value(self) -> float:
        """Return the number."""
        return float(np.array(self.bits, dtype=np.uint32).view(np.float32))


class Section(_Strict):
    """Count bytes in the file (`stored`) and after inflating (`size`; the same where nothing is deflated)."""

    name: str
    stored: Count
    size: Count


class Header(_Strict):
    """Describe an artifact; docs/artifact.md says what each key means.

    `weights_sha256` is over the decoded weights: float32, little endian, in order.

    `plain_form` and `filled` are keys of format version 2 only.
    """

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
    plain_form: Literal["float16", "folded", "folded_float16"] | None = None
    filled: tuple[Filled, ...] = ()

    @property
    def version(self) -> int:
        """Return the format version of the file."""
        return 1 if self.plain_form is None else 2

    @property
    def weights(self) -> int:
        """Return the number of weights that are coded."""
        return sum(one.size for one in self.coded)

    @property
    def free(self) -> int:
        """Return how many of these are in no codebook entry."""
        return sum(one.free for one in self.coded)

    @property
    def entries(self) -> int:
        """Return the number of codebook entries."""
        book = self.codebook
        return len(book.numerators if book.numerators is not None else book.bits or ())

    @property
    def tensors(self) -> tuple[_Tensor, ...]:
        """Return all tensors, first those that are coded."""
        return (*self.coded, *self.plain, *self.filled)

    @property
    def names(self) -> list[str]:
        """Return the names of all tensors."""
        return [name for one in self.tensors for name in one.names]


def view_shape(shape: tuple[int, ...]) -> Shape3:
    """Return [a, b, c] as which a tensor is coded: without sizes of 1, the first, the second, the rest."""
    long = [size for size in shape if size != 1]
    a, b = [*long, 1, 1][:2]
    return a, b, math.prod(long[2:])


def is_name(name: str) -> bool:
    """Tell whether a state dict's key can stand in a header."""
    return re.fullmatch(r"\w+(\.\w+)*", name) is not None and len(name) <= 300
