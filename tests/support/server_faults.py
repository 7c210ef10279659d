"""Every fault a server can make and every place where it can make it, as data: what is sent, and what must come of it.

A good answer is cut in two at each *position*; a *kind* of fault says what is sent instead of, or next to, the second
half. What must come of it follows from how far the answer had come. Faults that have one place only (a lie in a header,
a bad certificate) are listed one by one.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Literal

from attrs import evolve, field, frozen
from scripted_server import END, TUNNEL, Do, Pause, Raw, StartTLS, Step, Take, chunk, cut, head, whole
from tls import server_context

import aichatfree_sdk as sdk
from aichatfree_sdk import Timeout

DELTAS = ("Once ", "upon 🙂 a ", "time.")
TEXT = "".join(DELTAS)
BODY = TEXT.encode()
CHUNKS = b"".join(map(chunk, DELTAS))
NEXT = "next"  # what every request is answered that comes after the fault
# Larger than the socket buffers are made, and than what asyncio buffers itself.
LARGE = "x" * 500_000
PATIENT = Timeout(connect=20, first_text=20, idle=20, total=25)
SOON = 0.3  # when a clock runs out that is to run out
A_WHILE = Pause(0.02)
FOR_EVER: list[Step] = [Pause(25), Do.HOLD]  # without reading what comes

Phase = Literal["request", "answer", "head", "first text", "text"]


@frozen
class Fault:
    """What the server does to one request, and what the call must come to.

    Attributes:
        where: at which place of the exchange.
        script: what is done to the request; None where it does not come that far.
        errors: the classes that the error may be of; None among them is a whole answer.
        text: what is delivered.
        exactly: all of ``text`` is delivered, not only a beginning of it.
        ended_by: how a whole answer ends.
        reusable: the connection goes back to the pool.
        greetings: what is done to the connections before their first request.
        door: whether the server lets anybody in.
        secure: whether it is under TLS; None is either.
        tunnel: whether the server is behind a proxy.
        timeout: the client's clocks.
        prompt: what is asked.
        retries: how often the request is sent again.
        stale: it is sent once more on a connection that was kept alive.
        may_retry: it may be sent once more: the kernel decides what it looks like to the client.
        doubtful: a client may as well refuse it as no HTTP, as aiohttp does.
    """

    where: str
    script: list[Step] | None = None
    errors: tuple[type[Exception] | None, ...] = (None,)
    text: str = ""
    exactly: bool = True
    ended_by: str = "chunked"
    reusable: bool = False
    greetings: list[list[Step]] = field(factory=list)
    door: Literal["open", "closed", "full"] = "open"
    secure: bool | None = None
    tunnel: bool = False
    timeout: Timeout = PATIENT
    prompt: str = "q"
    retries: int = 0
    stale: bool = False
    may_retry: bool = False
    doubtful: bool = False

    @property
    def waits(self) -> bool:
        """A clock has to run out."""
        return self.timeout != PATIENT


@frozen
class Position:
    """A place in a good answer.

    Attributes:
        name: what it is called.
        phase: how far the exchange has come.
        framing: how the answer's end is marked.
        sent: the answer's bytes before it.
        rest: those after it.
        text: what has been delivered by then.
    """

    name: str
    phase: Phase
    framing: str
    sent: bytes
    rest: bytes
    text: str = ""

    @property
    def begun(self) -> list[Step]:
        return [Take(1)] if self.phase == "request" else [self.sent]

    @property
    def end(self) -> list[Step]:
        """What a good answer ends with behind its bytes."""
        return [Do.CLOSE] if self.framing == "close" else []

    @property
    def prompt(self) -> str:
        return LARGE if self.phase == "request" else "q"

    @property
    def is_text(self) -> bool:
        """Any byte that comes here is text."""
        return self.framing != "chunked" and "character" not in self.name


HEADS = {
    "chunked": head(200, "Transfer-Encoding: chunked"),
    "length": head(200, f"Content-Length: {len(BODY)}"),
    "close": head(200),
}
GOOD = HEADS["chunked"] + CHUNKS + END
LENGTHY = HEADS["length"] + BODY
_ONCE = len(chunk(DELTAS[0]))
_MARKS: list[tuple[str, Phase, bytes, str]] = [
    ("before the first byte", "first text", b"", ""),
    ("in the first chunk's size", "first text", chunk(DELTAS[0])[:1], ""),
    ("between deltas", "text", chunk(DELTAS[0]), "Once "),
    ("in a chunk's size", "text", CHUNKS[: _ONCE + 1], "Once "),
    ("in a character", "text", CHUNKS.partition("🙂".encode()[2:])[0], "Once upon "),
    ("before a chunk's end", "text", CHUNKS.partition(b"\r\n5\r\ntime")[0], "Once upon 🙂 a "),
    ("before the end", "text", CHUNKS, TEXT),
    ("in the end", "text", CHUNKS + b"0\r\n", TEXT),
]
_PLAIN_MARKS: list[tuple[str, Phase, bytes, str]] = [
    ("before the first byte", "first text", b"", ""),
    ("between deltas", "text", b"Once ", "Once "),
    ("in a character", "text", BODY.partition("🙂".encode()[2:])[0], "Once upon "),
    ("before the end", "text", BODY[:-1], TEXT[:-1]),
]


def _positions() -> Iterable[Position]:
    yield Position("in the request's body", "request", "chunked", b"", GOOD)
    yield Position("before the answer", "answer", "chunked", b"", GOOD)
    for name, stop in (("in the status line", b"200"), ("in a header", b"Encoding"), ("before its end", b"\r\n\r\n")):
        at = GOOD.index(stop)
        yield Position(name, "head", "chunked", GOOD[:at], GOOD[at:])
    for framing, head_ in HEADS.items():
        wire = head_ + (CHUNKS + END if framing == "chunked" else BODY)
        for name, phase, sent, text in _MARKS if framing == "chunked" else _PLAIN_MARKS:
            at = len(head_ + sent)
            yield Position(f"{name} ({framing})", phase, framing, wire[:at], wire[at:], text)


POSITIONS = list(_positions())


def _everywhere(make: Callable[[Position], Fault]) -> list[Fault]:
    return [make(at) for at in POSITIONS]


# Kinds that can be at every position.


def _ends(how: Do, *, secure: bool | None = None) -> Callable[[Position], Fault]:
    """The connection ends, in one way or another."""

    def make(at: Position) -> Fault:
        error: type[Exception] | None = sdk.StreamInterruptedError if "text" in at.phase else sdk.TransportError
        errors = [error]
        if at.framing == "close":
            # Nothing tells it from the answer's end, but for a character that is not whole, and for a reset. Under TLS
            # CPython's ssl takes that, too, for an end.
            error = sdk.EmptyReplyError if not at.text else sdk.InvalidReplyError if "character" in at.name else None
            errors = [error] if how is not Do.RESET else [*errors, error] if secure else errors
        return Fault(
            at.name,
            [*at.begun, how],
            tuple(errors),
            at.text,
            exactly=how is not Do.RESET,  # which may overtake what was sent before it
            stale=at.phase in ("request", "answer"),
            ended_by="close",
            prompt=at.prompt,
            secure=secure,
        )

    return make


def _stalls(at: Position) -> Fault:
    clock = "idle" if at.phase == "text" else "first_text"
    error = sdk.IdleTimeoutError if at.phase == "text" else sdk.FirstTextTimeoutError
    timeout = evolve(PATIENT, **{clock: SOON})
    return Fault(at.name, [*at.begun, *FOR_EVER], (error,), at.text, timeout=timeout, prompt=at.prompt)


def _goes_on(rest: Callable[[Position], list[Step]]) -> Callable[[Position], Fault]:
    """No fault, only an unusual way to send an answer, or to take a request."""

    def make(at: Position) -> Fault:
        return Fault(
            at.name,
            [*at.begun, *rest(at), *at.end],
            text=TEXT,
            ended_by=at.framing,
            reusable=at.framing != "close",
            prompt=at.prompt,
        )

    return make


def _inserts(data: bytes) -> Callable[[Position], Fault]:
    """Bytes that do not belong there."""
    return lambda at: Fault(
        at.name, [*at.begun, data + at.rest, *at.end], (sdk.InvalidReplyError,), at.text, prompt=at.prompt
    )


# Kinds with places of their own.


def _bad(
    where: str, script: list[Step], text: str = "", error: type[Exception] = sdk.InvalidReplyError, **more: Any
) -> Fault:
    return Fault(where, script, (error,), text, **more)


def _good(
    where: str, script: list[Step], text: str = TEXT, *, by: str = "chunked", reusable: bool = True, **more: Any
) -> Fault:
    return Fault(where, script, text=text, ended_by=by, reusable=reusable, **more)


def _with(*headers: str, body: bytes = CHUNKS + END, line: str = "HTTP/1.1 200 X") -> list[Step]:
    return ["\r\n".join([line, *headers, "", ""]).encode("latin-1") + body]


def _plain(*headers: str, line: str = "HTTP/1.1 200 X") -> list[Step]:
    return _with(*headers, line=line, body=BODY)


TE = "Transfer-Encoding: chunked"
LENGTH = f"Content-Length: {len(BODY)}"
FIRST = HEADS["chunked"] + chunk(DELTAS[0])
EXTRA = b"HTTP/1.1 200 X\r\nContent-Length: 8\r\n\r\nsmuggled"
TRAILER = chunk("Internal server error")
ALERT = b"\x15\x03\x03\x00\x02\x02\x28"  # a fatal handshake_failure, not encrypted
HTTP_2 = b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff"


def _early(where: str, *then: Step, may_be_lost: bool = False) -> list[Fault]:
    """A refusal while the request's body is still being sent."""
    lost = (sdk.TransportError,) if may_be_lost else ()
    words = b'{"error":{"message":"Invalid password."}}'
    return [
        Fault(where, [Take(1), *whole(status, words), *then], (error, *lost), prompt=LARGE, may_retry=may_be_lost)
        for status, error in ((413, sdk.APIStatusError), (401, sdk.InvalidPasswordError))
    ]


def _connecting(
    where: str, greeting: list[Step], error: type[Exception] = sdk.ConnectError, *, secure: bool = True, **more: Any
) -> Fault:
    """No connection comes about, at either of the two attempts."""
    return Fault(where, None, (error,), greetings=[greeting] * 2, retries=1, secure=secure, **more)


def _mends(fault: Fault) -> Fault:
    """The same at the first attempt only."""
    return evolve(fault, where=f"{fault.where}, once", errors=(None,), text=NEXT, greetings=fault.greetings[:1])


def _handshake(*then: Step, in_record: bool = True, **more: Any) -> list[Fault]:
    """The same at each place of a TLS handshake; in a record, what is sent is only more of the record."""
    faults = [
        _connecting("TLS hello", [Take(), *then], **more),
        *([_connecting("TLS handshake, in a record", [Do.HALF_TLS, *then], **more)] if in_record else []),
        _connecting("TLS handshake, between records", [Do.FIRST_TLS, *then], **more),
    ]
    return [*faults, *map(_mends, faults)]


def _connects(where: str, *greeting: Step, **more: Any) -> Fault:
    """No fault, only an unusual way to come to a connection."""
    return Fault(where, None, text=NEXT, reusable=True, greetings=[list(greeting)], secure=True, **more)


def _tunneled(fault: Fault) -> Fault:
    """The same behind a proxy."""
    greetings = [[*TUNNEL, *greeting] for greeting in fault.greetings]
    return evolve(fault, where=f"{fault.where}, in a tunnel", greetings=greetings, secure=True, tunnel=True)


def _no_proxy(door: Literal["closed", "full"], **more: Any) -> Fault:
    return evolve(_connecting("connect", [], door=door, tunnel=True, **more), greetings=[])


def _to_proxy(*then: Step, **more: Any) -> list[Fault]:
    """What a proxy does instead of opening a tunnel: at once, when it was asked, and in its answer."""
    faults = [
        _connecting("connect", list(then), tunnel=True, **more),
        _connecting("CONNECT", [Do.READ_CONNECT, *then], tunnel=True, **more),
        _connecting("answer to CONNECT", [Do.READ_CONNECT, b"HTTP/1.1 2", *then], tunnel=True, **more),
    ]
    return [*faults, *map(_mends, faults)]


def _refused_tunnel(status: int) -> list[Fault]:
    greeting = [Do.READ_CONNECT, *whole(status, "<html>no</html>"), Do.HOLD]
    fault = _connecting("CONNECT", greeting, tunnel=True)
    return [fault, _mends(fault)]


def _corrupts(data: bytes) -> Callable[[Position], Fault]:
    """What is no record of the connection's comes below TLS, behind what was sent."""

    def make(at: Position) -> Fault:
        error = sdk.StreamInterruptedError if "text" in at.phase else sdk.TransportError
        stale = at.phase in ("request", "answer")
        script = [*at.begun, A_WHILE, Raw(data), Do.HOLD]
        return _bad(at.name, script, at.text, error, secure=True, stale=stale, prompt=at.prompt)

    return make


_NO_CONNECTION = evolve(PATIENT, connect=SOON)
_NO_TEXT = evolve(PATIENT, first_text=SOON)
_NO_MORE = evolve(PATIENT, idle=SOON)

_EVERYWHERE: dict[str, list[Fault]] = {
    "close": _everywhere(_ends(Do.CLOSE)),
    "cut": _everywhere(_ends(Do.CUT)),
    "reset": _everywhere(_ends(Do.RESET, secure=False)),
    "reset under TLS": _everywhere(_ends(Do.RESET, secure=True)),
    "half-close": _everywhere(_ends(Do.HALF_CLOSE)),
    "stall": _everywhere(_stalls),
    "pause": _everywhere(_goes_on(lambda at: [A_WHILE, Take(), at.rest])),
    "trickle": _everywhere(_goes_on(lambda at: [*[Take(4096)] * 50, Take(), *cut([at.rest])])),
    "garbage": _everywhere(_inserts(b"\xff\xfe\r\n")),
    "NUL": [_inserts(b"\0\r\n")(at) for at in POSITIONS if not at.is_text],
    "corrupt TLS record": _everywhere(_corrupts(b"\xff" * 64)),
    "alert that is not encrypted": _everywhere(_corrupts(ALERT)),
}

_TLS: dict[str, list[Fault]] = {
    "handshake close": _handshake(Do.CLOSE),
    "handshake half-close": _handshake(Do.HALF_CLOSE),
    "handshake reset": _handshake(Do.RESET),
    "handshake stall": _handshake(*FOR_EVER, error=sdk.ConnectTimeoutError, timeout=_NO_CONNECTION),
    "handshake pause": [_connects("TLS hello", Take(), A_WHILE, StartTLS(server_context()))],
    "handshake trickle": [_connects("TLS handshake, and all that follows", StartTLS(server_context(), trickle=True))],
    "handshake garbage": _handshake(b"\xff" * 20_000, Do.HOLD),
    "handshake alert": _handshake(ALERT, Do.HOLD, in_record=False),
    "handshake in plain HTTP": _handshake(*whole(400, "This is an HTTPS port."), Do.HOLD, in_record=False),
    "wrong authority": [_connecting("TLS handshake", [StartTLS(server_context(signed_by="stranger"))])],
    "wrong host name": [_connecting("TLS handshake", [StartTLS(server_context(host="other.example"))])],
    "expired certificate": [_connecting("TLS handshake", [StartTLS(server_context(expired=True))])],
}

KINDS: dict[str, list[Fault]] = {
    **_EVERYWHERE,
    # No connection. Under TLS that is the same, or, where there is one, what follows here at the TLS hello.
    "refused connection": [_connecting("connect", [], secure=False, door="closed")],
    "unanswered connection": [
        _connecting("connect", [], sdk.ConnectTimeoutError, secure=False, door="full", timeout=_NO_CONNECTION)
    ],
    "accept and close": [Fault("connect", None, (sdk.TransportError,), greetings=[[Do.CLOSE]], secure=False)],
    "accept and half-close": [Fault("connect", None, (sdk.TransportError,), greetings=[[Do.HALF_CLOSE]], secure=False)],
    "accept and reset": [
        Fault("connect", None, (sdk.TransportError,), greetings=[[Do.RESET]], secure=False, may_retry=True)
    ],
    "accept and stall": [
        Fault("connect", None, (sdk.FirstTextTimeoutError,), greetings=[FOR_EVER], secure=False, timeout=_NO_TEXT)
    ],
    "speaks first": [
        Fault("connect", None, (sdk.InvalidReplyError,), greetings=[[b"SSH-2.0-X\r\n\r\n", Do.HOLD]], secure=False)
    ],
    **_TLS,
    # A proxy.
    "no proxy": [_no_proxy("closed"), _no_proxy("full", error=sdk.ConnectTimeoutError, timeout=_NO_CONNECTION)],
    "no tunnel": [
        *_to_proxy(Do.CLOSE),
        *_to_proxy(Do.HALF_CLOSE),
        *_to_proxy(Do.RESET),
        *_to_proxy(*FOR_EVER, error=sdk.ConnectTimeoutError, timeout=_NO_CONNECTION),
        *_to_proxy(b"SSH-2.0-X\r\n\r\n", Do.HOLD),
        *_refused_tunnel(407),
        *_refused_tunnel(502),
    ],
    "slow tunnel": [
        _connects(
            "CONNECT", Do.READ_CONNECT, A_WHILE, *cut(TUNNEL[1:]), A_WHILE, StartTLS(server_context()), tunnel=True
        )
    ],
    # In the request's body.
    "early refusal": [
        *_early("in the request's body, then reads on", Take()),
        *_early("in the request's body, then half-closes", Do.HALF_CLOSE),
        # It is lost where the failure to send is noticed first: httpx reads only after it.
        *_early("in the request's body, then closes", Do.CLOSE, may_be_lost=True),
    ],
    "early answer": [Fault("in the request's body", [Take(1), GOOD, Take()], text=TEXT, prompt=LARGE, reusable=True)],
    # The status line.
    "informational": [
        *[_good(f"status line, {n}", [f"HTTP/1.1 {n} X\r\na: b\r\n\r\n".encode(), GOOD]) for n in (100, 102, 103, 199)],
        _good("status line, many", [b"HTTP/1.1 103 X\r\n\r\n" * 99 + GOOD]),
        _bad("status line, 101", [b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + GOOD]),
    ],
    "HTTP/1.0": [
        _good("status line", [*_plain(line="HTTP/1.0 200 X"), Do.CLOSE], by="close", reusable=False),
        _good("status line, length", _plain(LENGTH, line="HTTP/1.0 200 X"), by="length", reusable=False),
    ],
    "HTTP/0.9": [
        _bad("status line", [BODY, Do.CLOSE], error=sdk.TransportError, doubtful=True),
        _bad("status line, a blank line", [b"Once\r\n\r\n" + BODY, Do.CLOSE]),
    ],
    "another HTTP": [
        _bad("status line, HTTP/2", [HTTP_2, Do.CLOSE]),
        _bad("status line, ICY", _with(TE, line="ICY 200 OK")),
        _bad("status line, HTTP/x", _with(TE, line="HTTP/x 200 X")),
        _good("status line, HTTP/2.0", [*_plain(line="HTTP/2.0 200 X"), Do.CLOSE], by="close", reusable=False),
    ],
    "status code": [
        *[
            _bad(f"status line, {code!r}", _plain(LENGTH, line=f"HTTP/1.1 {code} X"))
            for code in ("99", "000", "099", "abc", "2000", "-200", "20", "")
        ],
        *[
            _bad(f"status line, {code}", _plain(LENGTH, line=f"HTTP/1.1 {code} X"), error=sdk.ServerError)
            for code in (999, 600)
        ],
        _good("status line, no reason", _with(TE, line="HTTP/1.1 200")),
    ],
    "body where there is none": [
        _bad("status line, 204", _plain(LENGTH, line="HTTP/1.1 204 X"), error=sdk.EmptyReplyError),
        _bad("status line, 304", _plain(LENGTH, line="HTTP/1.1 304 X"), error=sdk.RedirectError),
    ],
    # The headers.
    "length too small": [
        _good("headers", _plain("Content-Length: 5"), "Once ", by="length", reusable=False),
        _bad("headers, in a character", _plain("Content-Length: 12"), "Once upon "),
        _bad("headers, 0", _plain("Content-Length: 0"), error=sdk.EmptyReplyError),
    ],
    "length too large": [
        *[
            _bad(
                f"headers, {length}",
                [*_plain(f"Content-Length: {length}"), Do.CLOSE],
                TEXT,
                sdk.StreamInterruptedError,
                doubtful=doubtful,
            )
            for length, doubtful in ((len(BODY) + 1, False), ("9" * 20, True))
        ],
        _bad("headers, open", [*_plain("Content-Length: 99"), Do.HOLD], TEXT, sdk.IdleTimeoutError, timeout=_NO_MORE),
    ],
    "no length": [
        *[
            _bad(f"headers, {value[:9]!r}", _plain(f"Content-Length: {value}"))
            for value in ("-1", "+5", "0x19", "abc", "", "5.0", "5 5", "5, 6", "9" * 5000)
        ],
        _bad("headers, two", _plain(LENGTH, "Content-Length: 5")),
        _good("headers, twice", _plain(LENGTH, LENGTH), by="length", doubtful=True),
    ],
    "length and chunks": [
        _good("headers, length first", _with("Content-Length: 5", TE), doubtful=True),
        _good("headers, chunked first", _with(TE, "Content-Length: 500"), doubtful=True),
    ],
    "unknown transfer encoding": [
        *[
            _bad(f"headers, {value!r}", _with(f"Transfer-Encoding: {value}"))
            for value in ("gzip, chunked", "identity", "chunked, chunked", "xchunked", "chunked x", "")
        ],
        _good("headers, CHUNKED", _with("Transfer-Encoding: CHUNKED")),
    ],
    "bad header": [
        *[
            _bad(f"headers, {line!r}", _with(line, TE))
            for line in ("no colon", "a b: c", ": c", "a\x0b: c", "a: \0", "a\xff: c", "a : c", " a: c", "a: b\rc: d")
        ],
        *[_good(f"headers, {line!r}", _with(line, TE)) for line in ("a: \xff", "a: b\r\n c\r\n\td", "a:", "a: \x01")],
        _good("headers, bare LF", [GOOD.replace(b"\r\n", b"\n", 3)]),
    ],
    "giant header": [
        _bad("headers", _with("a: " + "b" * 200_000, TE)),
        _bad("headers, thousands", _with(*[f"a{n}: b" for n in range(20_000)], TE)),
        _good("headers, 60 KB", _with("a: " + "b" * 60_000, TE), doubtful=True),
        _good("headers, a thousand", _with(*[f"a{n}: b" for n in range(1000)], TE), doubtful=True),
    ],
    "compressed unasked": [
        *[
            _bad(f"headers, {name}", whole(200, data, f"Content-Encoding: {name}"))
            for name, data in (
                ("gzip", gzip.compress(BODY)),
                ("deflate", zlib.compress(BODY)),
                ("br", BODY),
                ("x", BODY),
            )
        ],
        _good("headers, identity", whole(200, BODY, "Content-Encoding: identity"), by="length"),
    ],
    # The chunks.
    "bad chunk size": [
        *[
            _bad(f"chunk framing, {line[:9]!r}", [FIRST + line + chunk(DELTAS[1])[1:] + END, Do.HOLD], "Once ")
            for line in (b"z\r\n", b"-5\r\n", b"+5\r\n", b"0x5\r\n", b"\r\n", b"5 5\r\n", b"5_0\r\n", b" \r\n")
        ],
        _bad("chunk framing, 21 digits", [FIRST + b"f" * 21 + b"\r\nupon", Do.HOLD], "Once "),
        _bad("chunk framing, endless", [FIRST + b"5" * 200_000, Do.HOLD], "Once "),
        _bad(
            "chunk framing, 20 digits",
            [FIRST + b"f" * 20 + b"\r\nupon", Do.CLOSE],
            "Once upon",
            sdk.StreamInterruptedError,
            doubtful=True,
        ),
        _bad("chunk framing, too small", [FIRST + b"2\r\nupon\r\n" + END], "Once up"),
        _bad("chunk framing, no CRLF", [FIRST + b"4\r\nupon" + END], "Once upon"),
        _good("chunk framing, zeros", [FIRST + b"0005\r\nupon!\r\n" + END], "Once upon!"),
    ],
    "chunk extension": [
        _good("chunk framing", [FIRST + b'5;a=b;c="d"\r\nupon!\r\n' + END], "Once upon!"),
        _bad("chunk framing, endless extension", [FIRST + b"5;" + b"a" * 200_000, Do.HOLD], "Once "),
    ],
    "trailers": [
        _good("in the end", [HEADS["chunked"] + CHUNKS + b"0\r\na: b\r\nc: d\r\n\r\n"]),
        _bad("in the end, no header", [HEADS["chunked"] + CHUNKS + b"0\r\nno colon\r\n\r\n"], TEXT),
        _bad("in the end, endless", [HEADS["chunked"] + CHUNKS + b"0\r\n" + b"a: b\r\n" * 40_000, Do.HOLD], TEXT),
    ],
    # The text.
    "invalid UTF-8": [
        _bad("first byte", [HEADS["chunked"] + chunk(b"\xff") + END]),
        _bad("between deltas", [FIRST + chunk(b"\xc0\xaf") + END], "Once "),
        _bad("in a character", [FIRST + chunk(b"a\xf0\x9f") + chunk(b"\x41") + END], "Once a"),
        _bad("in a character, a surrogate", [FIRST + chunk(b"\xed\xa0\x80") + END], "Once "),
    ],
    "end in a character": [
        _bad("before the end", [FIRST + chunk(b"a\xf0\x9f\x99") + END], "Once a"),
        _bad("before the end (length)", whole(200, b"a\xf0\x9f\x99"), "a"),
        _bad("before the end (close)", [HEADS["close"] + b"a\xf0\x9f\x99", Do.CLOSE], "a"),
    ],
    "failure trailer": [
        _bad("first byte", [HEADS["chunked"] + TRAILER + END], error=sdk.StreamInterruptedError),
        _bad("before the end", [FIRST + TRAILER + END], "Once ", sdk.StreamInterruptedError),
        _good("between deltas", [FIRST + TRAILER + chunk("s.") + END], "Once Internal server errors."),
    ],
    "nothing": [
        _bad("first byte", [HEADS["chunked"] + END], error=sdk.EmptyReplyError),
        _bad("first byte (length)", whole(200), error=sdk.EmptyReplyError),
    ],
    "broken refusal": [
        *[
            _bad(f"in an error's body, {name}", [head(400, TE) + chunk("{"), *rest], error=sdk.BadRequestError)
            for name, rest in (
                ("cut", [Do.CUT]),
                ("reset", [Do.RESET]),
                ("chunk", [b"z\r\n"]),
                ("long", [chunk("x" * 9999)] * 30),
            )
        ],
        _bad(
            "in an error's body, stall",
            [head(400, TE) + chunk("{"), Do.HOLD],
            error=sdk.BadRequestError,
            timeout=_NO_TEXT,
        ),
    ],
    # Behind the answer: none of it may be taken for the beginning of the next one.
    "another answer at once": [_good("behind the answer", [GOOD + EXTRA], reusable=False)],
    "another answer later": [_good("behind the answer", [GOOD, A_WHILE, EXTRA], reusable=False)],
    # What ends as an answer does is only noticed when the next request finds it.
    "a head behind the answer": [
        _good(f"behind the answer, {extra[:20]!r}", [GOOD + extra], reusable=False)
        for extra in (
            b"HTTP/1.1 204 X\r\n\r\n",
            b"HTTP/1.1 408 X\r\n\r\n",
            HEADS["chunked"],
            HEADS["length"],
            b"\r\n\r\n",
            b"x\r\n\r\n",
        )
    ],
    "bytes behind the answer": [
        *[
            _good(f"behind the answer, {extra[:20]!r}", [GOOD + extra], reusable=False)
            for extra in (b"\r\n", b"x", b"HTTP/1.1 200 X\r\na: ", EXTRA[:-1], EXTRA + b"x")
        ],
        *[
            _good(
                f"behind the answer (length), {extra[:20]!r}",
                [HEADS["length"] + BODY + extra],
                by="length",
                reusable=False,
            )
            for extra in (EXTRA, BODY)
        ],
    ],
}

# Behind a proxy a connection is made in another way, from TLS on, and ends and waits in another way, perhaps. What has
# places of its own is not repeated there: a proxy hands on the bytes of a tunnel as they are.
KINDS |= {
    kind: [*faults, *map(_tunneled, faults)]
    for kind, faults in (_EVERYWHERE | _TLS).items()
    if faults[0].secure is not False
}
