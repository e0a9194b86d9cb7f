"""What every wing refuses with: one printable line."""

from __future__ import annotations

from pwfn.errors import one_line


def test_any_message_becomes_one_printable_line() -> None:
    assert one_line(ValueError("a\n  b\tc\x1b[31m\u202ed")) == "a b c [31m d"


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert one_line("x" * 300) == "x" * 200 + " ..."
    assert one_line("x" * 300, 300) == "x" * 300
    assert one_line("x" * 3000, limit=None) == "x" * 3000
