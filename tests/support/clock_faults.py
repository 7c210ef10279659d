"""What runs a clock out, and what takes a part of its time only, over a real socket.

What shall run out lasts for ever or for ten times the clock's time, and what shall not takes a quarter of it, so that
no slow machine turns one into the other.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from scripted_server import END, Do, Pause, StartTLS, Step, Take, answer, chunk, head
from server_faults import FOR_EVER, LARGE, NEXT, PATIENT, SOON, Fault
from tls import server_context

import aichatfree_sdk as sdk

HEAD = head(200, "Transfer-Encoding: chunked")


def _dribble(data: bytes) -> list[Step]:
    return [data, Pause(0.02)] * 150


# It goes on for seconds: where the clock does not hold, an answer comes.
# Each send of the operating system's goes through before the clock has run out.
_SLOW_UPLOAD = [Take(1), *[Pause(0.02), Take(3000)] * 150, Take(), HEAD + chunk("late") + END]
# So is this: never is there a wait that could take too long.
_FLOOD = [*[b"HTTP/1.1 103 X\r\n\r\n" * 500] * 400, HEAD + chunk("late") + END]
_SLOW_HEAD = [b"HTTP/1.1 200 X\r\na: ", *_dribble(b"b")]
_TEXT = [HEAD + chunk("a"), Do.HOLD]


def _ends(where: str, script: list[Step] | None, error: type[Exception], text: str = "", **more: Any) -> Fault:
    timeout = evolve(PATIENT, **{where.partition(":")[0]: SOON})
    return Fault(where, script, (error,), text, timeout=timeout, **more)


def _no_connection(where: str, error: type[Exception], retries: int) -> list[Fault]:
    greetings = [FOR_EVER] * (retries + 1)
    return [
        _ends(f"{where}: no TLS", None, error, greetings=greetings, secure=True, retries=retries),
        _ends(f"{where}: no answer", None, error, door="full", secure=False, retries=retries),
    ]


def _no_text(where: str, error: type[Exception]) -> list[Fault]:
    return [
        _ends(f"{where}: nothing", [Do.HOLD], error),
        _ends(f"{where}: a head", [HEAD, Do.HOLD], error),
        _ends(f"{where}: half a character", [HEAD + chunk(b"\xf0"), Do.HOLD], error),
        _ends(f"{where}: a trailer", [HEAD + chunk("Internal server error"), Do.HOLD], error),
        _ends(f"{where}: informational", _dribble(b"HTTP/1.1 103 X\r\n\r\n"), error),
        _ends(f"{where}: a flood", _FLOOD, error),
        _ends(f"{where}: a slow head", _SLOW_HEAD, error),
        _ends(f"{where}: a slow upload", _SLOW_UPLOAD, error, prompt=LARGE),
        _ends(f"{where}: an endless error", [head(500), *_dribble(b"x")], sdk.ServerError),
    ]


RUN_OUT = [
    *_no_connection("connect", sdk.ConnectTimeoutError, retries=1),
    *_no_text("first_text", sdk.FirstTextTimeoutError),
    _ends("idle: silence", _TEXT, sdk.IdleTimeoutError, "a"),
    _ends("idle: half a character", [HEAD + chunk(b"a\xf0"), Do.HOLD], sdk.IdleTimeoutError, "a"),
    _ends("total: silence", _TEXT, sdk.TotalTimeoutError, "a"),
    _ends("total: no end", [HEAD, *_dribble(chunk("a"))], sdk.TotalTimeoutError, "a" * 150, exactly=False),
    *_no_connection("total", sdk.TotalTimeoutError, retries=0),
    *_no_text("total", sdk.TotalTimeoutError),
]

AMPLE, QUARTER = 1.0, Pause(0.25)
_SLOW = [HEAD + chunk("a"), QUARTER, chunk("b"), QUARTER, chunk("c"), QUARTER, chunk("d"), QUARTER, chunk("e"), QUARTER]
_HANDSHAKE = [Take(), QUARTER, StartTLS(server_context())]
PASS = [
    Fault("connect", text=NEXT, greetings=[_HANDSHAKE], secure=True, timeout=evolve(PATIENT, connect=AMPLE)),
    Fault("first_text", [QUARTER, *answer("ok")], text="ok", timeout=evolve(PATIENT, first_text=AMPLE)),
    Fault("total", [QUARTER, *answer("ok")], text="ok", timeout=evolve(PATIENT, total=AMPLE)),
    # Longer in all than the clock: it begins anew with each text, or has done its work with the first.
    Fault("idle", [*_SLOW, END], text="abcde", timeout=evolve(PATIENT, idle=AMPLE)),
    Fault("first_text, then slow", [*_SLOW, END], text="abcde", timeout=evolve(PATIENT, first_text=AMPLE)),
]
