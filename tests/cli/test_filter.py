"""The filter between a server's words and a terminal."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aichatfree_sdk.cli.terminal import TerminalFilter, one_line

# The format characters (Cf) that may pass: joiners that scripts and emoji need, and signs that are visible.
PASSING = set("\u200c\u200d\u06dd\u070f\u08e2\U000110bd\U000110cd") | {chr(code) for code in range(0x600, 0x606)}
PASSING |= {"\u0890", "\u0891"}
FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}

deltas = st.lists(
    st.text(st.one_of(st.characters(), st.sampled_from("\r\n\t\x1b\x9b\x7f\u202e\u200b\u200d\ufe0f\u2028\ud800a")))
)


def show(*pieces: str) -> str:
    shown = TerminalFilter()
    return "".join([*map(shown.feed, pieces), shown.finish()])


def may_pass(character: str) -> bool:
    return character in PASSING or character in "\n\t" or unicodedata.category(character) not in FORBIDDEN


@given(deltas)
def test_it_does_not_matter_where_the_deltas_are_cut(pieces: list[str]) -> None:
    assert show(*pieces) == show("".join(pieces)) == show(*"".join(pieces))


@given(deltas)
def test_nothing_that_acts_or_hides_comes_out(pieces: list[str]) -> None:
    assert [character for character in show(*pieces) if not may_pass(character)] == []


@given(st.text(st.characters(exclude_categories=["C", "Z", "M", "Lo"])))
def test_ordinary_text_comes_out_as_it_went_in(text: str) -> None:
    assert show(text) == text


def test_every_character_of_unicode() -> None:
    wrong = [
        f"U+{code:04X}"
        for code in range(sys.maxunicode + 1)
        if not may_pass(chr(code)) and show(chr(code)).isascii() is False
    ]
    assert wrong == []


@pytest.mark.parametrize("character", sorted(PASSING))
def test_what_scripts_need_passes(character: str) -> None:
    assert show(character) == character


@pytest.mark.parametrize("text", ["👨‍👩‍👧 ❤️ 🏳️‍🌈", "می‌خواهم", "葛\U000e0100城", "Привет!\n\tдалее", "e\u0301"])
def test_emoji_and_scripts_stay_whole(text: str) -> None:
    assert show(*text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\r\nb", "a\nb"),
        ("good\rbad", r"good\x0dbad"),
        ("\r\r\n", "\\x0d\n"),
        ("end\r", r"end\x0d"),
        ("\x7f\x08", r"\x7f\x08"),
        ("exe.\u202etxt", r"exe.\u202etxt"),
        ("a\u200bb\ufeff\u2060\u00ad", r"a\u200bb\ufeff\u2060\xad"),
        ("\u2066\u2069\u200e\u200f\u061c", r"\u2066\u2069\u200e\u200f\u061c"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\U000e0041\U000e007f", r"\U000e0041\U000e007f"),
        ("\u3164\uffa0\u115f", r"\u3164\uffa0\u115f"),
        ("\ud83d", r"\ud83d"),
    ],
)
def test_what_is_spelled_out(text: str, shown: str) -> None:
    assert show(text) == show(*text) == shown


def test_marks_stand_around_each_escape_and_nothing_else() -> None:
    marked = TerminalFilter("<", ">")
    assert marked.feed(r"\x1b" + "\x1b\x1b\n") == r"\x1b<\x1b><\x1b>" + "\n"


def test_a_message_is_one_line() -> None:
    assert one_line("a\nb\tc\r\n\x1b\r") == r"a\nb c\n\x1b\x0d"
