"""What a server can do to a request, at random, with what a client has to make of it: strategies for hypothesis."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterable, Iterator
from itertools import pairwise

from attrs import frozen
from hypothesis import strategies as st
from scripted_server import END, LONGEST, Do, Step, answer, chunk, head, whole

from aichatfree_sdk import AIChatFreeError, APIStatusError
from aichatfree_sdk import errors as sdk
from aichatfree_sdk.core.decoder import FAILURE_TRAILER


@frozen
class Seen:
    """A step: wait until the client has entered the stream, and handed on that many characters."""

    characters: int


@frozen
class Behaviour:
    """What a server does to one request, and what the client has to make of it.

    Attributes:
        steps: what is sent.
        text: what is handed on.
        error: what is raised.
        retried: whether there is another attempt, if any are left.
        stale: that, where the connection had been used before.
        alive: whether the connection is used again.
        hangs_up: whether the server closes it without saying so, when all is said.
    """

    steps: list[Step | Seen]
    text: str = ""
    error: type[AIChatFreeError] | None = None
    retried: bool = False
    stale: bool = False
    alive: bool = True
    hangs_up: bool = False


TRAILER = FAILURE_TRAILER.encode()
TEXTS = ["Привет, ", "мир!", "🏳️\u200d🌈", "a\r\n\r\n", "0", "\ufeff", "Internal ", "server error", FAILURE_TRAILER]
BYTES = [b"ok", b"\xd0\xb6", b"\xd0", b"\xf0\x9f", b"\x99\x82", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"]


def _make_answer(deltas: list[bytes], framing: str, end: str, *, close: bool, hangs_up: bool) -> Behaviour:
    """Return a 2xx response whose body has these deltas, this framing and this end."""
    if (framing, end) != ("chunked", "whole"):
        # Whether words of the trailer's are all of it, only a chunk tells, and only once it has ended.
        deltas = [delta for delta in deltas if not delta.startswith(b"Int")]
    data = b"".join(deltas)
    failed = deltas[-1:] == [TRAILER]
    text, fault = _decode(data.removesuffix(TRAILER) if failed else data)
    error: type[AIChatFreeError] | None = None if text else sdk.EmptyReplyError
    if fault == "invalid" or end == "nonsense":
        error = sdk.InvalidReplyError
    elif end != "whole" or failed:
        error = sdk.StreamInterruptedError
    elif fault:
        error = sdk.InvalidReplyError
    ends = end != "whole" or framing == "close" or close or hangs_up
    steps = [*_frame(deltas, framing, end, close=close), *([Do.CLOSE] if ends else [])]
    if end == "reset" and fault != "invalid":  # at which the client hangs up without waiting for more
        steps[-1:] = [Seen(len(text)), Do.RESET]  # a reset may overtake what was sent before it
    return Behaviour(steps, text, error, alive=not (ends or fault == "invalid"), hangs_up=hangs_up)


def _decode(data: bytes) -> tuple[str, str]:
    """Return the text before the first fault of ``data``, and which it is."""
    try:
        return data.decode(), ""
    except UnicodeDecodeError as error:
        return data[: error.start].decode(), "cut" if error.reason == "unexpected end of data" else "invalid"


def _frame(deltas: list[bytes], framing: str, end: str, *, close: bool) -> list[Step | Seen]:
    closing = ["Connection: close"] if close else []
    if framing == "chunked":
        last = {"whole": [END], "nonsense": [b"zz\r\n"]}.get(end, [])
        return [head(200, "Transfer-Encoding: chunked", *closing), *map(chunk, deltas), *last]
    length = len(b"".join(deltas)) + (end != "whole")
    framed = [f"Content-Length: {length}"] if framing == "length" else []
    return [head(200, *framed, *closing), *deltas]


Refusal = tuple[int, str, type[AIChatFreeError], bool]  # the status, the server's words, the error, is it tried again


def _make_refusal(refusal: Refusal, retry_after: str, *, close: bool, cut: bool) -> Behaviour:
    """Return a response of another status; ``cut`` breaks its body off."""
    status, words, error, retried = refusal
    body = json.dumps({"error": {"message": words, "code": "Error"}}).encode() if words else b""
    headers = [f"Content-Length: {len(body) + cut}"]
    headers += [f"Retry-After: {retry_after}"] if retry_after else []
    headers += ["Connection: close"] if close or cut else []
    steps = [head(status, *headers), body, *([Do.CLOSE] if close or cut else [])]
    return Behaviour(steps, "", error, retried=retried and retry_after != "3600", alive=not (close or cut))


QUOTA = "[GoogleGenerativeAI Error]: Error fetching from  [429 Too Many Requests] Quota"
REFUSALS: list[Refusal] = [
    (302, "", sdk.RedirectError, False),
    (400, "Invalid message history", sdk.BadRequestError, False),
    (401, "Invalid password.", sdk.InvalidPasswordError, False),
    (404, "", sdk.NotFoundError, False),
    (408, "", APIStatusError, True),
    (429, "slow down", sdk.RateLimitError, True),
    (500, "", sdk.ServerError, False),
    (500, QUOTA, sdk.RateLimitError, True),
    (500, "Please alternate.", sdk.UpstreamRefusedError, False),
    (503, "", sdk.OverloadedError, True),
    (522, "", sdk.ServerError, True),
]
OTHERS = [
    Behaviour([Do.CLOSE], error=sdk.TransportError, stale=True, alive=False),
    Behaviour([Do.RESET], error=sdk.TransportError, stale=True, alive=False),
    Behaviour([b"HTTP/1.1 200 OK\r\nX: ", Do.CLOSE], error=sdk.TransportError, alive=False),
    Behaviour([b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Do.CLOSE], error=sdk.InvalidReplyError, alive=False),
    Behaviour([head(204)], error=sdk.EmptyReplyError),
    Behaviour([*whole(200, gzip.compress(b"x"), "Content-Encoding: gzip")], error=sdk.InvalidReplyError, alive=False),
]

ENDINGS = [
    *[("chunked", end) for end in ("whole", "whole", "broken", "reset", "nonsense")],
    *[("length", end) for end in ("whole", "broken", "reset")],
    *[("close", end) for end in ("whole", "reset")],
]
GOOD = Behaviour([*answer("Да", ", ", "да")], "Да, да")
DEAD = [behaviour for behaviour in OTHERS if behaviour.stale]
BEHAVIOURS = st.one_of(
    st.sampled_from([GOOD, *DEAD]),
    st.builds(
        lambda deltas, ending, **others: _make_answer(deltas, *ending, **others),
        st.lists(st.sampled_from([text.encode() for text in TEXTS]), max_size=6)
        | st.lists(st.sampled_from(BYTES), max_size=6),
        st.sampled_from(ENDINGS),
        close=st.booleans(),
        hangs_up=st.booleans(),
    ),
    st.builds(
        _make_refusal,
        st.sampled_from(REFUSALS),
        st.sampled_from(["", "", "0", "3600", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]),
        close=st.booleans(),
        cut=st.booleans(),
    ),
    st.sampled_from(OTHERS),
)


class Progress:
    """How far the client has come in the call that it makes, for the server to wait for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._characters = -1

    def note(self, characters: int) -> None:
        """Note that so many characters were handed on; less than none: the stream is not entered."""
        with self._changed:
            self._characters = characters
            self._changed.notify_all()

    def play(self, steps: Iterable[Step | Seen], cuts: list[int]) -> Iterator[Step]:
        """Yield ``steps``, waiting where they say so, each cut in pieces at the positions in ``cuts``."""
        for step in steps:
            if isinstance(step, Seen):
                with self._changed:
                    seen = self._changed.wait_for(lambda wanted=step.characters: self._characters >= wanted, LONGEST)
                    assert seen, "text was lost"
            elif isinstance(step, bytes):
                edges = sorted({0, len(step), *(position % (len(step) + 1) for position in cuts)})
                yield from (step[start:stop] for start, stop in pairwise(edges))
            else:
                yield step
