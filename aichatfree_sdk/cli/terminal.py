r"""What a model or a server wrote, made safe to show on a terminal.

A terminal obeys what is printed on it: an escape sequence in an answer can retitle the window, write the clipboard or
overwrite what stands above, and bidirectional controls make a line read as another one. So what comes from a server is
never printed as it came: everything that acts on the terminal, or hides in the text, is spelled out as in Python
(``\x1b``, ``\u202e``).

Left alone are newline and tab, the zero-width joiner and non-joiner and the variation selectors, without which emoji
and the scripts of Persia and India fall apart, and the format characters that are visible signs (Arabic ``U+06DD``).
``\r\n`` becomes ``\n``; a ``\r`` by itself goes back to the start of the line and is spelled out.
"""

from __future__ import annotations

import re

# Ranges rather than unicodedata.category: the same on every Python, and one pass in C.
_DECEPTIVE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\xad\u200b\u2060-\u2065\ufeff\ufff0-\ufffb"  # invisible: soft hyphen, zero-width space, joiners, operators
    "\u034f\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0"  # invisible though letters or marks: the Hangul fillers...
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    "\u2028\u2029\u206a-\u206f"  # line and paragraph separators, deprecated format characters
    "\ud800-\udfff"  # lone surrogates: no encoding takes them
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # formats of hieroglyphs, shorthand and music
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"  # tags, in which a whole text can hide; but no variation selectors
    "]"
)


def spell(character: str) -> str:
    r"""Return a character as Python escapes it: ``\x1b``, ``\u202e``, ``\U000e0041``."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class TerminalFilter:
    r"""Makes a stream of text safe to show, wherever it is cut into deltas.

    Args:
        before: put before each escape, such as the sequence for reverse video, which tells an escape from a text that
            spells one.
        after: put after it.

    Example:
        >>> TerminalFilter().feed("\x1b[2J")
        '\\x1b[2J'
    """

    def __init__(self, before: str = "", after: str = "") -> None:
        self._before = before
        self._after = after
        self._held = ""  # a \r at the end of a delta, until it is known whether a \n follows

    def feed(self, delta: str) -> str:
        """Return what can be shown so far."""
        text = self._held + delta
        self._held = "\r" if text.endswith("\r") else ""
        return self._safe(text.removesuffix("\r"))

    def finish(self) -> str:
        """Return what was held back, once the stream has ended."""
        held, self._held = self._held, ""
        return self._safe(held)

    def _safe(self, text: str) -> str:
        return _DECEPTIVE.sub(self._mark, text.replace("\r\n", "\n"))

    def _mark(self, match: re.Match[str]) -> str:
        return f"{self._before}{spell(match[0])}{self._after}"


def one_line(text: str) -> str:
    """Return a whole text made safe and brought onto one line, for messages."""
    safe = TerminalFilter()
    return (safe.feed(text) + safe.finish()).replace("\n", "\\n").replace("\t", " ")
