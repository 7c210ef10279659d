"""The terminal filter: what comes out acts on nothing and hides nothing, and tells all that went in.

An input is how many cuts there are, one byte for the length of each piece, and the text.
"""

from __future__ import annotations

import re
import sys
import unicodedata

from fuzz_input import Source

from aichatfree_sdk.cli.terminal import TerminalFilter, one_line

# Joiners that scripts and emoji need, and format characters that are visible signs.
PASSING = set("\n\t\u200c\u200d\u06dd\u070f\u08e2\u0890\u0891\U000110bd\U000110cd") | set(map(chr, range(0x600, 0x606)))
# What acts or cannot be seen: control and format characters, surrogates, ends of lines and paragraphs, fillers.
HARMFUL = {
    character
    for character in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in PASSING
} | set("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# The filter lets neither through, so that whatever stands between the two in what it returns is an escape of its own.
BEFORE, AFTER = "\x0e", "\x0f"
ESCAPE = re.compile(rf"{BEFORE}\\(?:x([0-9a-f]{{2}})|u([0-9a-f]{{4}})|U([0-9a-f]{{8}})){AFTER}")

MAX_LEN = 64
TOKENS = (
    *(b"\x1b[31m", b"\x1b]0;t\x07", b"\x1b]8;;http://h\x1b\\", b"\x1b]52;c;YQ==\x07", b"\x1bP", b"\x1b", b"\\x1b"),
    *("\x9b\x7f\x80\x85".encode(), b"\x08", b"\t", b"\r", b"\n", b"\r\n", b"\xff", b"\xed\xa0\x80"),
    *(text.encode() for text in ("\u202e\u2066\u2069", "\u2028\u2029", "\u200b\u200c\ufeff", "\u3164\u115f")),
    *(text.encode() for text in ("👨\u200d👩", "\U000e0041\U000e0100")),
)
SEEDS = {
    "a text": bytes([2, 3, 4]) + "Привет!\n\tдалее 👨\u200d👩 ❤️ می\u200cخواهم".encode(),
    "escape sequences": bytes([3, 1, 1, 5]) + b"\x1b[2J\x1b]0;owned\x07\x1b]52;c;YQ==\x1b\\\x9b2J",
    "C1": bytes([0]) + "\x9b2J\x90\x9d\x85".encode(),
    "line ends": bytes([4, 1, 1, 1, 1]) + b"\r\r\na\rb\r\n\r",
    "bidirectional controls": bytes([1, 3]) + "exe.\u202etxt\u2066\u2069\u200e\u061c".encode(),
    "what cannot be seen": bytes([1, 3]) + "a\u200b\ufeff\xad\u3164\U000e0041\u2028".encode(),
    "what looks like an escape": bytes([0]) + rb"\x1b\u202e\\\U000e0041",
    "lone surrogates": bytes([1, 1]) + b"\xff\xed\xa0\x80",
}
FINDINGS: dict[str, bytes] = {}


def target(data: bytes) -> None:
    source = Source(data)
    sizes = source.bytes(source.byte() % 8)
    text = source.rest().decode("utf-8", "surrogateescape")
    pieces = []
    rest = text
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    check([*pieces, rest], text)


def show(pieces: list[str], before: str = "", after: str = "") -> str:
    shown = TerminalFilter(before, after)
    return "".join([*map(shown.feed, pieces), shown.finish()])


def check(pieces: list[str], text: str) -> None:
    shown = show(pieces)
    assert shown == show([text])
    assert HARMFUL.isdisjoint(shown)
    marked = show(pieces, BEFORE, AFTER)
    assert marked.replace(BEFORE, "").replace(AFTER, "") == shown
    assert ESCAPE.sub(lambda match: chr(int(match[match.lastindex or 0], 16)), marked) == text.replace("\r\n", "\n")
    assert one_line(text) == shown.replace("\n", "\\n").replace("\t", " ")
