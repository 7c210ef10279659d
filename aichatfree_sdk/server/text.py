"""Cutting a text into deltas: word by word, whitespace kept, and no character torn apart."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Longer runs are cut: the scripts that write no spaces would otherwise come in one piece. Latin words fit.
MAX_RUN = 16
# A Chinese character or an emoji is worth some letters: four of them fill a run, about what models send at once.
WIDE_COST = 4
# A long text comes in bigger deltas instead of more: 2,000,000 characters word by word take a server seconds.
MAX_DELTAS = 2_000

_WORD = re.compile(rf"\S{{1,{MAX_RUN}}}\s{{0,{MAX_RUN}}}|\s{{1,{MAX_RUN}}}")

_VIRAMA = 9  # the combining class of the sign that joins two Indic consonants


def split_text(text: str) -> Iterator[str]:
    """Yield deltas that join to exactly ``text``."""
    start = 0
    step = len(text) // MAX_DELTAS
    while start < len(text):
        end = min(start + step, len(text)) if step > MAX_RUN else _word_end(text, start)
        while end < len(text) and _glued(text[end - 1], text[end]):
            end += 1
        yield text[start:end]
        start = end


def _word_end(text: str, start: int) -> int:
    word = _WORD.match(text, start)
    end = word.end() if word else start + 1  # every character is \s or \S: the match cannot fail
    spent = 0
    for index in range(start, end):
        spent += WIDE_COST if unicodedata.east_asian_width(text[index]) in "WF" else 1
        if spent > MAX_RUN and not text[index].isspace():
            return index
    return end


def _glued(before: str, after: str) -> bool:
    # Coarser than Unicode's grapheme rules on purpose: a cut too few is harmless, a torn character is not.
    if before < "\u0300" and after < "\u0300":
        return "\xad" in (before, after) or (before == "\r" and after == "\n")
    return (
        unicodedata.category(after) in ("Mn", "Mc", "Me", "Cf")  # accents, variation selectors, joiners, tags
        or unicodedata.category(before) == "Cf"
        or unicodedata.combining(before) == _VIRAMA
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
        or ("\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= after <= "\U0001f1ff")  # flags
        or "\u1160" <= after <= "\u11ff"  # Hangul vowels and finals, written apart
        or "\ud7b0" <= after <= "\ud7ff"
    )
