"""Bytes to text, wherever the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aichatfree_sdk.core.decoder import FAILURE_TRAILER, Cut, Decoder, UndecodableError

TRAILER = FAILURE_TRAILER.encode()
TEXTS = [
    "Привет, мир!",
    "你好，世界",
    "👨‍👩‍👧‍👦 family, 🏳️‍🌈 flag",
    "e\u0301 a\u030a n\u0303",
    "שלום עולם",
    "\ufeffbyte order mark",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff",
    "line\r\nline\n\x00\x1b[31m",
    "Internal",
    "Internal server errors are 500",
]


def decode(chunks: list[bytes], **options: object) -> tuple[str, bool]:
    decoder = Decoder(**options)  # type: ignore[arg-type]
    text = "".join(decoder.feed(chunk) for chunk in chunks)
    rest, failed = decoder.finish()
    return text + rest, failed


@pytest.mark.parametrize("text", TEXTS)
def test_every_split_in_two_and_byte_by_byte_equals_the_whole(text: str) -> None:
    data = text.encode()
    for cut in range(len(data) + 1):
        assert decode([data[:cut], data[cut:]]) == (text, False)
    assert decode([bytes([byte]) for byte in data]) == (text, False)


@given(st.text(st.characters(codec="utf-8")), st.lists(st.integers(0, 400)))
def test_any_split_equals_the_whole(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in pairwise(edges)]
    assert decode(chunks, failure_trailer=None) == (text, False)


def test_text_is_handed_on_as_soon_as_it_is_complete() -> None:
    decoder = Decoder()
    assert decoder.feed(b"Hello") == "Hello"
    assert decoder.feed("пр".encode()[:3]) == "п"
    assert decoder.feed("р".encode()[1:]) == "р"


@pytest.mark.parametrize("before", [[], ["Once upon a time "]])
def test_the_trailer_is_found_wherever_it_is_cut(before: list[str]) -> None:
    lead = [text.encode() for text in before]
    for first in range(len(TRAILER) + 1):
        for second in range(first, len(TRAILER) + 1):
            chunks = [*lead, Cut(TRAILER[:first]), Cut(TRAILER[first:second]), TRAILER[second:]]
            assert decode(chunks) == ("".join(before), True), (first, second)


@pytest.mark.parametrize(
    "chunks",
    [
        ["Internal server error", " is what 500 means"],
        ["I", "Internal server error", "!"],
        ["Internal server error", "Internal server error."],
        ["Internal", " affairs"],
        ["HTTP 500 is an ", "Internal ", "server ", "error"],
        ["A 500 is an Internal server error"],
        ["I"],
        ["Internal server error."],
        ["Internal server err"],
    ],
)
def test_text_that_only_looks_like_the_trailer_is_text(chunks: list[str]) -> None:
    assert decode([chunk.encode() for chunk in chunks]) == ("".join(chunks), False)


def test_pieces_of_other_text_come_out_as_soon_as_they_are_known_to_be_text() -> None:
    decoder = Decoder()
    assert decoder.feed(Cut(b"In")) == ""
    assert decoder.feed(Cut(b"")) == ""
    assert decoder.feed(Cut(b"ter")) == ""
    assert decoder.feed(Cut(b"esting")) == "Interesting"
    assert decoder.feed(b"In") == "In"  # the rest of that chunk
    assert decoder.feed(Cut(b"Inter")) == ""
    assert decoder.feed(b"") == "Inter"  # the chunk had ended there
    assert decoder.feed(Cut(TRAILER)) == ""
    assert decoder.finish() == ("", True)


def test_a_chunk_that_ends_with_the_trailer_is_text_wherever_it_is_cut() -> None:
    assert decode([Cut(b"An "), TRAILER]) == ("An Internal server error", False)
    assert decode([Cut(b"An "), b"", TRAILER]) == ("An ", True)


def test_the_beginning_of_the_trailer_is_text_where_the_chunk_ends() -> None:
    assert Decoder().feed(b"I") == "I"


def test_a_run_of_two_trailers_is_text_and_a_failure() -> None:
    assert decode([TRAILER, TRAILER]) == (FAILURE_TRAILER, True)


def test_the_trailer_is_text_where_it_is_turned_off() -> None:
    assert decode([TRAILER], failure_trailer=None) == (FAILURE_TRAILER, False)


def test_another_trailer_may_be_set() -> None:
    assert decode([b"text", b"boom"], failure_trailer="boom") == ("text", True)


INVALID = {
    "continuation alone": b"\x80",
    "overlong": b"\xc0\xaf",
    "overlong of three": b"\xe0\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "no such byte": b"\xff",
    "cut by a letter": b"\xd0a",
}


@pytest.mark.parametrize("bad", INVALID.values(), ids=INVALID.keys())
def test_invalid_utf8_is_caught_at_every_split_with_the_text_before_it(bad: bytes) -> None:
    data = "Да: ".encode() + bad + b" rest"
    for cut in range(len(data) + 1):
        decoder, text = Decoder(), ""
        with pytest.raises(UndecodableError, match="is not UTF-8: byte 0x") as caught:
            text += decoder.feed(data[:cut])
            text += decoder.feed(data[cut:])
            decoder.finish()
        assert text + caught.value.text == "Да: "


def test_a_body_that_ends_inside_a_character_is_not_whole() -> None:
    decoder = Decoder()
    assert decoder.feed("Дa".encode()[:2] + "Д".encode()[:1]) == "Д"
    with pytest.raises(UndecodableError, match="ends inside a UTF-8 character"):
        decoder.finish()


def test_a_held_back_beginning_after_half_a_character_is_not_utf8() -> None:
    decoder = Decoder()
    decoder.feed("Д".encode()[:1])
    assert decoder.feed(Cut(b"Int")) == ""
    with pytest.raises(UndecodableError, match="is not UTF-8"):
        decoder.finish()


@pytest.mark.parametrize("size", [9, 10, 11])
def test_the_size_limit_lets_as_many_bytes_through_as_it_says(size: int) -> None:
    decoder = Decoder(max_bytes=10)
    if size <= 10:
        assert decoder.feed(b"x" * size) == "x" * size
        assert decoder.finish() == ("", False)
    else:
        with pytest.raises(UndecodableError, match="longer than max_reply_bytes, 10 bytes") as caught:
            decoder.feed(b"x" * size)
        assert caught.value.text == "x" * 10


def test_the_size_limit_counts_over_chunks_and_keeps_what_was_held_back() -> None:
    decoder = Decoder(max_bytes=10)
    assert decoder.feed(Cut(b"Internal")) == ""
    with pytest.raises(UndecodableError) as caught:
        decoder.feed(b" server error")
    assert caught.value.text == "Internal s"
