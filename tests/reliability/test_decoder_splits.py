"""However the network cuts an answer, its text is the whole one, and bytes that are no text are caught.

What is right is told by Python's own strict ``bytes.decode`` on the whole body, and for a delta on what had come of it.
"""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator, Sequence

import pytest
from cases import Cases
from cuts import CHARACTER, EVERY, splits
from texts import TEXTS
from virtual import URL, Clock, OneCall

from aichatfree_sdk import InvalidReplyError, Settings, StreamInterruptedError
from aichatfree_sdk.core.actions import Fail, Finish
from aichatfree_sdk.core.decoder import FAILURE_TRAILER, Cut, Decoder, UndecodableError
from aichatfree_sdk.core.exchange import Exchange
from aichatfree_sdk.core.response import ResponseHead
from aichatfree_sdk.core.retry import RetryBudget

ROW = "decoder"

TRAILER = FAILURE_TRAILER.encode()
HEAD = ResponseHead(200, (("transfer-encoding", "chunked"),))
SETTINGS = Settings(base_url=URL)
BUDGET = RetryBudget()
every_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())


def marked(pieces: Sequence[bytes]) -> Iterator[tuple[list[bytes], bytes]]:
    """Yield ``pieces`` with each cut as one between two chunks or inside of one, and what the last chunk is then."""
    for inside in itertools.product((False, True), repeat=len(pieces) - 1):
        chunks = [b""]
        for piece, goes_on in zip(pieces, (*inside, False), strict=True):
            chunks[-1] += piece
            if not goes_on:
                chunks.append(b"")
        last = next((chunk for chunk in reversed(chunks) if chunk), b"")
        yield [Cut(piece) if goes_on else piece for piece, goes_on in zip(pieces, (*inside, False), strict=True)], last


def decode(pieces: Sequence[bytes]) -> tuple[str, bool]:
    decoder = Decoder()
    text = "".join(map(decoder.feed, pieces))
    rest, failed = decoder.finish()
    return text + rest, failed


def exchange(pieces: Sequence[bytes]) -> tuple[str, Finish | Fail]:
    """Return the text that an exchange hands on, and what it comes to."""
    it = Exchange(OneCall(), SETTINGS, BUDGET, Clock())
    it.attempt_started(time_ms=0, jitter=0)
    it.response_started(HEAD)
    text = "".join(it.feed(piece) for piece in pieces if it.reading)
    text += it.body_ended() if it.reading else ""
    it.closed()
    action = it.action
    assert isinstance(action, (Finish, Fail))
    assert text == it.text
    return text, action


@every_text
def test_each_delta_is_what_its_bytes_complete(text: str, cases: Cases) -> None:
    data = text.encode()
    complete = [data[:size].decode("utf-8", "ignore") for size in range(len(data) + 1)]
    for pieces in (*splits(data, between=cases.choose(CHARACTER, EVERY)), [bytes([byte]) for byte in data]):
        decoder, size, so_far = Decoder(failure_trailer=None), 0, ""
        for piece in pieces:
            size += len(piece)
            so_far += decoder.feed(piece)
            assert so_far == complete[size], pieces
        assert decoder.finish() == ("", False)
        cases.count()


@every_text
def test_every_split_between_and_inside_of_chunks_equals_the_whole(text: str, cases: Cases) -> None:
    for pieces in splits(text.encode(), between=cases.choose(CHARACTER, EVERY)):
        for chunks, last in marked(pieces):
            failed = last == TRAILER
            expected = text.removesuffix(FAILURE_TRAILER) if failed else text
            assert decode(chunks) == (expected, failed), chunks
            handed_on, action = exchange(chunks)
            if isinstance(action, Finish):
                assert (handed_on, action.reply.text, failed) == (text, text, False), chunks
            else:
                assert type(action.error) is StreamInterruptedError
                assert (handed_on, action.error.partial_text, failed) == (expected, expected, True), chunks
            cases.count(2)


def spread(values: Sequence[bytes], number: int) -> list[bytes]:
    """Return the first and the last of ``values``, and others evenly between."""
    return [values[index * (len(values) - 1) // (number - 1)] for index in range(number)]


def sequences(first: range | Sequence[int], *others: range) -> list[bytes]:
    return [bytes(values) for values in itertools.product(first, *others)]


ANY = range(0x80, 0xC0)
SURROGATES = [chr(code).encode("utf-8", "surrogatepass") for code in range(0xD800, 0xE000)]
INVALID = {
    "a continuation alone": sequences(ANY),
    "overlong in two bytes": sequences((0xC0, 0xC1), ANY),
    "overlong in three bytes": sequences((0xE0,), range(0x80, 0xA0), ANY),
    "overlong in four bytes": sequences((0xF0,), range(0x80, 0x90), ANY, range(0xBE, 0xC0)),
    "a surrogate": SURROGATES,
    "a pair of surrogates (CESU-8)": [*map(bytes.__add__, SURROGATES[:1024], SURROGATES[1024:])],
    "beyond U+10FFFF": sequences((0xF4,), range(0x90, 0xC0), ANY, range(0x80, 0x82)),
    "a lead of beyond U+10FFFF": sequences(range(0xF5, 0xF8), ANY, (0x80, 0xBF), (0x80, 0xBF)),
    "five and six bytes": sequences(range(0xF8, 0xFE), (0x88, 0xBF), (0x80,), (0x80,), (0x80,)),
    "no byte of UTF-8": [b"\xfe", b"\xff", codecs.BOM_UTF16_LE, codecs.BOM_UTF32_BE],
    "one byte of two": sequences(range(0xC2, 0xE0)),
    "one byte of three": sequences(range(0xE0, 0xF0)),
    "two bytes of three": sequences((0xE1, 0xEC, 0xEE, 0xEF), ANY),
    "one byte of four": sequences(range(0xF0, 0xF5)),
    "two bytes of four": sequences((0xF1, 0xF2, 0xF3), ANY),
    "three bytes of four": sequences((0xF1, 0xF3), ANY, (0x80, 0xBF)),
    "another encoding": ["Да".encode("koi8-r"), "é!".encode("latin-1"), "日本".encode("shift-jis"), "好".encode("gbk")],
}
# What may follow: nothing, so that the end cuts it; ASCII; another lead; a continuation; a mark.
AFTER = [b"", b" rest", "ж".encode(), "🙂".encode(), b"\xff", "\ufeff".encode()]
BEFORE = [b"", "Да: ".encode()]


def first_fault(data: bytes) -> tuple[str, int]:
    """Return the text of ``data`` before its first fault, and after how many bytes that is known to be one."""
    for size in range(1, len(data) + 1):
        try:
            data[:size].decode()
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                # Python's incremental decoder waits for all of a surrogate, which it takes where it is told to.
                surrogate = b"\xed\xa0" <= data[error.start : error.start + 2] <= b"\xed\xbf"
                return data[: error.start].decode(), size + surrogate
    with pytest.raises(UnicodeDecodeError) as cut_short:
        data.decode()
    return data[: cut_short.value.start].decode(), len(data) + 1


@pytest.mark.parametrize("kind", INVALID)
def test_what_is_not_utf8_is_caught_at_every_split_as_soon_as_it_has_come(kind: str, cases: Cases) -> None:
    found = INVALID[kind]
    for bad in cases.choose(spread(found, 3), spread(found, min(len(found), 40))):
        for before, after in itertools.product(BEFORE, AFTER):
            data = before + bad + after
            text, known_after = first_fault(data)
            for pieces in splits(data, between=cases.choose(CHARACTER, EVERY)):
                decoder, size, handed_on = Decoder(), 0, ""
                with pytest.raises(UndecodableError) as caught:
                    for piece in pieces:
                        assert size < known_after, pieces
                        size += len(piece)
                        handed_on += decoder.feed(piece)
                    assert size < known_after, pieces
                    decoder.finish()
                assert handed_on + caught.value.text == text, pieces
                cases.count()
            for pieces in splits(data, between=cases.choose(0, CHARACTER)):
                handed_on, action = exchange(pieces)
                assert isinstance(action, Fail)
                assert type(action.error) is InvalidReplyError, pieces
                assert (handed_on, action.error.partial_text) == (text, text), pieces
                cases.count()


# The first and the last of every class of bytes that Unicode's table of well-formed sequences (3-7) tells apart.
EDGES = bytes.fromhex("00 41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 f7 f8 ff")


def test_any_bytes_in_a_row_are_text_or_not_as_python_says(cases: Cases) -> None:
    for values in itertools.product(EDGES, repeat=cases.choose(3, 4)):
        data = bytes(values)
        decoder, text, caught = Decoder(), "", False
        try:
            for value in values:
                text += decoder.feed(bytes((value,)))
            text += decoder.finish()[0]
        except UndecodableError as error:
            text, caught = text + error.text, True
        try:
            expected = data.decode(), False
        except UnicodeDecodeError as error:
            expected = data[: error.start].decode(), True
        assert (text, caught) == expected, data
        cases.count()


def test_there_are_sixty_texts() -> None:
    assert len(set(TEXTS.values())) == 60
