"""The server's request parser: a body is a history that may be answered, or meets a row of the table of refusals.

An input is the site and whether the request is signed for it, and the body, in which a few bytes stand for what a
short input cannot hold.
"""

from __future__ import annotations

from hashlib import sha256

from fuzz_input import Source

from aichatfree_sdk.server.text import split_text
from aichatfree_sdk.server.wire import ChatMessage, Refused, Site, read_history, read_object

NOW_MS = 1_700_000_000_000
SITES = (
    Site(),
    Site(password="pä", secret="s€"),
    Site(max_clock_skew=300),
    Site(password="pä", max_clock_skew=0),
)
SIGNED = 4
TURNS = b"Please ensure that multiturn requests alternate between user and model."
TABLE = {
    (500, b""),
    (400, b'{"error":{"message":"Invalid message history: The last message must be from user role."}}'),
    (401, b'{"error":{"message":"Invalid password."}}'),
    (401, b'{"error":{"message":"Invalid signature."}}'),
    (500, b'{"error":{"code":"Error","message":"%b"}}' % TURNS),
}
LONG = {
    b"\x01": b"[" * 2000,
    b"\x02": b'{"a":' * 2000,
    b"\x03": b"9" * 5000,
    b"\x04": b"]" * 2000,
    b"\x05": b"}" * 2000,
}
USER, MODEL = b'{"role":"user","parts":[{"text":"%b"}]}', b'{"role":"model","parts":[{"text":"%b"}]}'

MAX_LEN = 256
TOKENS = (
    *LONG,
    *(USER % b"q", MODEL % b"a", b'{"messages":[', b'"messages":'),
    *(b'"role":"user"', b'"role":"model"', b'"parts":[{"text":"', b'{"text":""}'),
    *(b'"pass":"p\xc3\xa4"', b'"time":1700000000000', b'"sign":"', b"\\ud83d", b"\\ude00", b"\\ud800", b"\\u0000"),
    *(
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"null",
        b"true",
        b"\xef\xbb\xbf",
        b"\xff",
        b",",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\x00",
    ),
)


def case(options: int, *messages: bytes, rest: bytes = b'"pass":"p\xc3\xa4","time":1700000000000') -> bytes:
    return bytes([options]) + b'{"messages":[%b],%b}' % (b",".join(messages), rest)


SEEDS = {
    "a question": case(4, USER % b"q"),
    "a history": case(5, USER % b"q", MODEL % b"a", USER % "Привет 👋🏽".encode()),
    "the clock": case(6, USER % b"q"),
    "the clock and a password": case(7, USER % b"q"),
    "another time": case(6, USER % b"q", rest=b'"time":-1'),
    "a number of 5000 digits": case(6, USER % b"q", rest=b'"time":\x03'),
    "a number of 4000 digits": case(6, USER % b"q", rest=b'"time":%b' % (b"9" * 4000)),
    "no password": case(5, USER % b"q", rest=b'"pass":null,"time":0'),
    "half a character for a password": case(5, USER % b"q", rest=b'"pass":"\\ud800","time":0'),
    "half a character for a signature": case(0, USER % b"q", rest=b'"time":0,"sign":"\\ud800"'),
    "half a character": case(4, USER % b"a\\ud83d\\u0000"),
    "a character in two parts": case(4, b'{"role":"user","parts":[{"text":"\\ud83d"},{"text":"\\ude00"}]}'),
    "two questions": case(4, USER % b"q", USER % b"q"),
    "an empty text": case(4, USER % b""),
    "no parts": case(4, b'{"role":"user"}'),
    "the model last": case(4, MODEL % b"a"),
    "keys that come again": case(4, USER % b"q", rest=b'"time":1,"time":1700000000000,"messages":[]'),
    "nested": b"\4" + b'{"messages":[\x01\x04]}',
    "nested without an end": b"\4\x01",
    "objects in objects": b"\4\x02{}\x05",
    "no number": case(4, USER % b"q", rest=b'"time":NaN'),
    "infinite": case(4, USER % b"q", rest=b'"time":1e999'),
    "a byte order mark, and no UTF-8": b"\4\xef\xbb\xbf" + case(4, USER % b"\xff")[1:],
    "a text": b'\4"text"',
    "nothing": b"",
}
FINDINGS: dict[str, bytes] = {}


def target(data: bytes) -> None:
    source = Source(data)
    options, body = source.byte(), source.rest()
    for byte, long in LONG.items():
        body = body.replace(byte, long, 1)
    outcome = answer(options, body)
    readable = body.decode("utf-8", "replace").encode()
    assert readable == body or answer(options, readable) == outcome  # as in a browser, no byte is too odd to be read


def answer(options: int, body: bytes) -> tuple[ChatMessage, ...] | tuple[int, bytes]:
    site = SITES[options % len(SITES)]
    try:
        request = read_object(body)
        if options & SIGNED:
            sign(request, site)
        history = read_history(request, site, NOW_MS)
    except Refused as refusal:
        refused = (refusal.status, refusal.body)
    else:
        check_answered(request, history, site)
        return history
    assert refused in TABLE
    return refused


def sign(request: dict[str, object], site: Site) -> None:
    """Sign the request as its client would, if it has a question and a time."""
    try:
        parts = request["messages"][-1]["parts"]  # type: ignore[index]
        signed = signature(request["time"], "".join([part["text"] for part in parts]), site)
    except (LookupError, TypeError):
        return
    request["sign"] = signed


def signature(time: object, text: str, site: Site) -> str:
    # What JavaScript makes of a half of a character.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return sha256(f"{time}:{whole}:{site.secret}".encode()).hexdigest()


def check_answered(request: dict[str, object], history: tuple[ChatMessage, ...], site: Site) -> None:
    assert len(history) == len(request["messages"])  # type: ignore[arg-type]
    assert [message.role for message in history] == [("user", "model")[at % 2] for at in range(len(history))]
    assert history[-1].role == "user"
    assert all(message.text.encode() for message in history)  # which no half of a character can be
    assert not site.password or request["pass"] == site.password
    time = request["time"]
    assert type(time) is int
    assert site.max_clock_skew is None or abs(NOW_MS - time) <= site.max_clock_skew * 1000
    assert request["sign"] == signature(time, history[-1].text, site)
    assert "".join(split_text(history[-1].text)) == history[-1].text
