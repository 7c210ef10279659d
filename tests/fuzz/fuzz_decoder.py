"""The decoder, for any bytes cut anywhere, against Python's strict decoding of the whole.

An input is the options, the limit, how many cuts there are, one byte for each chunk (its length, and in the highest
bit whether it is a `Cut`), and the body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from fuzz_input import Source

from aichatfree_sdk.core.decoder import FAILURE_TRAILER, MAX_REPLY_BYTES, Cut, Decoder, UndecodableError

TRAILERS = (None, FAILURE_TRAILER, "нет", "aab")
LIMITED = 4

MAX_LEN = 96
TOKENS = (b"Internal server error", b"Internal ", b"\xd0\xbd\xd0\xb5\xd1\x82", b"\xf0\x9f\x98\x80", b"\xef\xbb\xbf")
SEEDS = {
    "a text": bytes([1, 0, 2, 3, 4]) + "Привет, мир! 👨‍👩‍👧 e\u0301".encode(),
    "a byte order mark": bytes([0, 0, 2, 1, 1]) + b"\xef\xbb\xbfa",
    "the trailer": bytes([1, 0, 1, 5]) + b"Once Internal server error",
    "the trailer in pieces": bytes([1, 0, 3, 5, 0x83, 0x86]) + b"Once Internal server error",
    "another trailer": bytes([2, 0, 2, 4, 0x83]) + "данет".encode(),
    "half a trailer": bytes([1, 0, 1, 0x83]) + b"Internal affairs",
    "two trailers": bytes([1, 0, 1, 21]) + b"Internal server error" * 2,
    "a trailer inside a character": bytes([3, 0, 1, 1]) + b"\xd0aab",
    "a trailer that begins like the text before it": bytes([3, 0, 3, 0x81, 1, 0x81]) + b"aaaab",
    "longer than the limit": bytes([5, 5, 2, 4, 4]) + "Приветы".encode(),
    "the limit inside the trailer": bytes([5, 9, 2, 0x84, 0x84]) + b"Internal server error",
    "no text": bytes([1, 0, 1, 3]) + b"abc\xed\xa0\x80\xf4\x90\x80\x80\xc0\xaf\xff",
    "half a surrogate pair": bytes([1, 0, 1, 3]) + b"abc\xed\xa0",
    "half a character": bytes([1, 0, 1, 1]) + b"\xf0\x9f\x98",
}
HALF_SURROGATE = re.compile(rb"\xed[\xa0-\xbf]")
FINDINGS: dict[str, bytes] = {}

NOT_UTF8, UNFINISHED, TOO_LONG = (
    "is not UTF-8: byte 0x",
    "ends inside a UTF-8 character",
    "is longer than max_reply_bytes",
)


def target(data: bytes) -> None:
    source = Source(data)
    options, limit = source.bytes(2)
    trailer = TRAILERS[options % len(TRAILERS)]
    limit = limit + 1 if options & LIMITED else MAX_REPLY_BYTES
    sizes = source.bytes(source.byte() % 8)
    check(cut(source.rest(), sizes), trailer, limit)


def cut(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunk, body = body[: size & 0x7F], body[size & 0x7F :]
        chunks.append(Cut(chunk) if size & 0x80 else chunk)
    return [*chunks, body]


def check(chunks: list[bytes], trailer: str | None, limit: int) -> None:
    """Feed the chunks, and compare what comes out after each of them and at the end."""
    decoder, text, fed = Decoder(limit, trailer), "", b""
    for count, chunk in enumerate(chunks, 1):
        fed += chunk
        if len(fed) > limit:
            expected, fault = longest_text(fed[:limit])
            fault = NOT_UTF8 if fault == NOT_UTF8 else TOO_LONG
        else:
            expected, fault = longest_text(fed.removesuffix(held_back(chunks[:count], trailer)))
            fault = NOT_UTF8 if fault == NOT_UTF8 else None
        delta, reason = attempt(lambda chunk=chunk: decoder.feed(chunk))
        text += delta
        assert (text, reason) == (expected, fault), chunks[:count]
        if fault:
            return
    failed = trailer is not None and held_back(chunks, trailer) == trailer.encode()
    (rest, told_failed), reason = attempt(decoder.finish, of_error=lambda text: (text, False))
    assert (text + rest, reason) == ((text, None) if failed else longest_text(fed)), chunks
    assert told_failed == failed, chunks


def attempt(step: Callable[[], Any], of_error: Callable[[str], Any] = str) -> tuple[Any, str | None]:
    """Return what a step gives, or the text and the kind of its error."""
    try:
        return step(), None
    except UndecodableError as error:
        kind = next(kind for kind in (NOT_UTF8, UNFINISHED, TOO_LONG) if error.reason.startswith(kind))
        return of_error(error.text), kind


def longest_text(data: bytes) -> tuple[str, str | None]:
    """Return the longest text that ``data`` begins with, and why it is not the whole."""
    try:
        return data.decode(), None
    except UnicodeDecodeError as error:
        # Python's incremental decoder looks at the third byte before it refuses half of a surrogate pair.
        unfinished = error.reason == "unexpected end of data" or HALF_SURROGATE.fullmatch(data, error.start)
        return data[: error.start].decode(), UNFINISHED if unfinished else NOT_UTF8


def held_back(pieces: list[bytes], trailer: str | None) -> bytes:
    """Return the last chunk where it may still be the trailer: its pieces so far begin like it, or the whole is it."""
    chunk, goes_on = b"", False
    for piece in pieces:
        if piece or goes_on:
            chunk = chunk + piece if goes_on else piece
            goes_on = isinstance(piece, Cut)
    wanted = (trailer or "").encode()
    return chunk if wanted.startswith(chunk) and (goes_on or chunk == wanted) else b""
