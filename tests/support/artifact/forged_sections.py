"""Forge the sections of an artifact: what is changed, and the check that must refuse it."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.artifact.forge import Forge


def altered(name: str, index: int, value: int) -> Callable[[Forge], None]:
    def change(forge: Forge) -> None:
        content = forge.section(name)
        content[index] = value
        forge.replace(name, bytes(content))

    return change


def replaced(name: str, content: Callable[[bytearray], bytes]) -> Callable[[Forge], None]:
    return lambda forge: forge.replace(name, content(forge.section(name)))


def two_classes(one: int) -> Callable[[Forge], None]:
    """Give the output channels of the first tensor, [16, 3, 3, 3], two classes; one channel has the class `one`."""

    def change(forge: Forge) -> None:
        forge.header["coded"][0]["classes"] = [2, 1, 1]
        content = bytes(forge.section("contexts"))
        forge.replace("contexts", bytes([one, *[0, 1] * 7, 1]) + content[:2] + content)

    return change


FREE = "has not the 93 free weights the header announces"
SECTIONS: dict[str, tuple[Callable[[Forge], None], str, bool]] = {  # how, which check, whether of the posterior
    "class that there is not": (two_classes(255), "conv1.0.weight has a class above the 2 it may have", False),
    "table that there is not": (
        replaced("contexts", lambda c: bytes(c[:-2]) + b"\xff\xff"),
        "frequency table 65535 is asked for",
        False,
    ),
    "tables that are empty": (replaced("tables", lambda c: bytes(len(c))), "a frequency table is empty", False),
    "tables of one symbol": (
        replaced("tables", lambda c: b"\1" + bytes(len(c) - 1)),
        "a frequency table is empty",
        False,
    ),
    "tables of other frequencies": (replaced("tables", lambda c: bytes(b and 1 for b in c)), FREE, False),
    "tables of extremes": (
        replaced("tables", lambda c: bytes(b and 255 * (i % 2) + 1 * (1 - i % 2) for i, b in enumerate(c))),
        FREE,
        False,
    ),
    "no symbols": (
        replaced("symbols", lambda _: b""),
        "432 symbols cannot have been coded in what the file holds",
        False,
    ),
    "fewer symbols": (replaced("symbols", lambda c: bytes(c[: len(c) // 8 * 4])), FREE, False),
    "one word fewer": (replaced("symbols", lambda c: bytes(c[:-4])), FREE, False),
    "one word more": (replaced("symbols", lambda c: bytes(c) + b"\1\0\0\0"), FREE, False),
    "a zero word at the end": (
        replaced("symbols", lambda c: bytes(c) + bytes(4)),
        "the coded symbols cannot be read: ",
        False,
    ),
    "zeros for symbols": (replaced("symbols", lambda c: bytes(len(c))), "the coded symbols cannot be read: ", False),
    "ones for symbols": (replaced("symbols", lambda c: b"\xff" * len(c)), FREE, False),
    "half a word": (
        replaced("symbols", lambda c: bytes(c[:-2])),
        "section symbols must have a multiple of four bytes",
        False,
    ),
    "other free weights": (altered("free", 0, 77), "the decoded weights are not those that were written", False),
    "fewer free weights": (replaced("free", lambda c: bytes(c[:-4])), "section free must have ", False),
    "more free weights": (replaced("free", lambda c: bytes(c) + bytes(4)), "section free must have ", False),
    "fewer plain bytes": (replaced("plain", lambda c: bytes(c[:-1])), "section plain must have ", False),
    "no sigma symbols": (
        replaced("sigma_symbols", lambda _: b""),
        "symbols cannot have been coded in what the file holds",
        True,
    ),
    "other sigma symbols": (
        replaced("sigma_symbols", lambda c: b"\xff" * len(c)),
        "there are fewer sigmas than weights",
        True,
    ),
    "empty sigma tables": (replaced("sigma_tables", lambda c: bytes(len(c))), "a frequency table is empty", True),
    "fewer free sigmas": (replaced("sigma_free", lambda c: bytes(c[:-4])), "there are fewer sigmas than weights", True),
    "more free sigmas": (
        replaced("sigma_free", lambda c: bytes(c) + bytes(4)),
        "there are more sigmas than weights",
        True,
    ),
    "symbols that are left over": (replaced("symbols", lambda c: b"\1\0\0\0" + bytes(c)), "some are left over", False),
    "more symbols than weights": (
        replaced("symbols", lambda _: bytes(4 << 20)),
        "section symbols is larger than the weights",
        False,
    ),
    "half a sigma": (
        replaced("sigma_free", lambda c: bytes(c[:-2])),
        "section sigma_free must have a multiple of four bytes",
        True,
    ),
}
