"""Forge the JSON of an artifact's header: how its text is changed, and the message that must follow."""

from __future__ import annotations

from collections.abc import Callable

TEXTS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "NaN": (
        lambda text: text.replace('"metrics": null', '"metrics": {"a": NaN}').encode(),
        "not readable JSON: NaN is not JSON",
    ),
    "infinity": (
        lambda text: text.replace('"metrics": null', '"metrics": {"a": -Infinity}').encode(),
        "not readable JSON: -Infinity is not JSON",
    ),
    "key twice": (
        lambda text: text.replace('"tables":', '"tables": 1, "tables":').encode(),
        "not readable JSON: a key occurs twice",
    ),
    "deep lists": (
        lambda text: text.replace('"metrics": null', '"metrics": {"a": ' + "[" * 10**6 + "]" * 10**6 + "}").encode(),
        "not readable JSON: ",
    ),
    "deep objects": (lambda _: b'{"a":' * 10**6 + b"1" + b"}" * 10**6, "not readable JSON: "),
    "number of a million digits": (
        lambda text: text.replace('"tables": ', '"tables": ' + "9" * 10**6).encode(),
        "not readable JSON: Exceeds the limit",
    ),
    "cut": (lambda text: text[:-1].encode(), "not readable JSON: "),
    "more after the end": (lambda text: (text + "{}").encode(), "not readable JSON: Extra data"),
    "list": (lambda _: b"[]", "not sound: Input should be an object"),
    "nothing": (lambda _: b"", "not readable JSON: "),
    "no UTF-8": (
        lambda text: text.replace("abc", "\udcff", 1).encode("utf-8", "surrogateescape") + b"\xff",
        "not readable JSON: ",
    ),
    "UTF-16": (lambda text: text.encode("utf-16"), "not sound: Invalid JSON"),
    "larger than a header may be": (lambda text: text.encode() + b" " * (9 << 20), "cannot come out of "),
}
