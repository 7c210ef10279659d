"""One fault on one runtime: make it, and look at everything that must come of it."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from typing import Any

import aiohttp
import tls
from attrs import evolve
from runtimes import RUNTIMES, Outcome, Runtime
from scripted_server import ScriptedServer, answer
from server_faults import KINDS, NEXT, Fault

from aichatfree_sdk import Conversation, InvalidReplyError, RetryPolicy

ONCE = RetryPolicy(max_retries=1, base_delay=0)
# So small that the body of a large request does not fit, and that a slow server takes it in small pieces.
SMALL = 16_384
BEHIND_PROXY = "https://127.0.0.1"
SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)]

Way = tuple[Runtime, bool, bool]  # the runtime; whether on a connection that was used before; whether under TLS


def find_ways(fault: Fault, runtimes: list[Runtime] = RUNTIMES) -> Iterator[Way]:
    """Yield each way in which the fault can be."""
    for secure, reused, runtime in itertools.product((False, True), (False, True), runtimes):
        if fault.secure in (None, secure) and not (reused and fault.script is None) and not _is_dropped(fault, runtime):
            yield runtime, reused, secure


# What aiohttp's parser passes over without keeping any of it: a header in the first line's continuation, and an
# extension of a chunk that does not end, which the clocks bound.
_LENIENT = ("headers, ' a: c'", "chunk framing, endless extension")


def _is_dropped(fault: Fault, runtime: Runtime) -> bool:
    # An early answer is read while the request is sent, and a connection whose request was not is dropped.
    return runtime.library is aiohttp and (fault in KINDS["early answer"] or fault.where in _LENIENT)


def check(fault: Fault, runtime: Runtime, reused: bool, secure: bool) -> None:
    """Make one client meet the fault, and assert what comes of it and that the client goes on."""
    chat = Conversation()
    if fault.doubtful and runtime.library is aiohttp:
        fault = evolve(fault, errors=(InvalidReplyError,), exactly=False, reusable=False)
    scripts = [answer("earlier")] * reused + ([] if fault.script is None else [fault.script])
    with ScriptedServer(
        *scripts,
        then=answer(NEXT),
        greetings=fault.greetings,
        tls=tls.server_context() if secure else None,
        tunnel=fault.tunnel,
        door=fault.door,
        receive_buffer=SMALL,
    ) as server:

        def calls() -> Iterator[dict[str, Any]]:
            if reused:
                yield {"prompt": "earlier"}
            yield {"prompt": fault.prompt, "conversation": chat, "timeout": fault.timeout}
            if fault.door != "open":
                server.open()
            # On a slow machine a client's clock may run out before the server has read what it sent.
            server.wait_until_begun(len(scripts))
            if None in fault.errors:
                server.wait_until_played()
            yield {"prompt": "next"}

        url, proxy = (BEHIND_PROXY, f"http://{server.address}") if fault.tunnel else (server.url, None)
        # Of one connection: one that is lost would make the next request wait in vain.
        pool = {"socket_options": SMALL_BUFFER, "max_connections": 1, "proxy": proxy}
        *earlier, outcome, following = runtime.ask_all(url, calls(), pool=pool, retry=ONCE)
    assert [before.text for before in earlier] == ["earlier"] * reused
    _check_outcome(outcome, fault, chat, again=fault.retries + (reused and fault.stale))
    assert following.error is None, following.error
    assert following.text == NEXT, following.text
    if reused:
        assert server.served[:2] == [1, 1]
    if fault.reusable:
        assert server.served[-2] == server.served[-1]


def _check_outcome(outcome: Outcome, fault: Fault, chat: Conversation, *, again: int) -> None:
    assert (outcome.reply is None) == (outcome.error is not None), outcome
    ended = outcome.reply or outcome.error
    assert ended is not None
    mended = again > fault.retries or (fault.may_retry and ended.retries == 1)
    assert ended.retries == fault.retries + mended, outcome
    if outcome.reply is not None:
        assert mended or None in fault.errors, outcome
        assert outcome.text == outcome.reply.text == (NEXT if mended else fault.text), outcome
        assert outcome.reply.ended_by == ("chunked" if mended else fault.ended_by), outcome.reply.ended_by
    else:
        assert not mended, outcome
        assert type(outcome.error) in fault.errors, outcome
        assert outcome.text == outcome.error.partial_text
        assert fault.text.startswith(outcome.text), outcome
        assert outcome.text == fault.text or not fault.exactly, outcome
    check_chat(outcome, fault.prompt, chat)


def check_chat(outcome: Outcome, prompt: str, conversation: Conversation) -> None:
    """Assert that a conversation that was new has all of the turn where there is a reply, and else nothing of it."""
    assert not conversation.busy
    expected = [] if outcome.reply is None else [prompt, outcome.reply.text]
    assert [message.content for message in conversation.messages] == expected
