"""Every limit holds exactly: what is at it passes, what is beyond it does not; and no bytes a server sends cost more
memory than they are.

Clocks are moved by hand where one tick decides; over a real socket they have room, so that no slow machine flips them.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import aiohttp
import anyio
import hygiene
import pytest
from attrs import evolve
from cases import Cases
from clock_faults import PASS, RUN_OUT
from fault_case import check, check_chat
from runtimes import RUNTIMES, Outcome, Runtime
from scripted_server import END, Do, Pause, ScriptedServer, StartTLS, Step, answer, chunk, head, whole
from server_faults import FOR_EVER, PATIENT, SOON, Fault
from tls import server_context
from virtual import AROUND, NEVER, URL, Clock

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, Client, Conversation, Message, RetryBudget, RetryPolicy, Settings, Timeout
from aichatfree_sdk.core.actions import Fail, SendRequest, StartAttempt
from aichatfree_sdk.core.exchange import Exchange, State
from aichatfree_sdk.core.failure import FailureKind, TransportFailure
from aichatfree_sdk.core.limits import Limits
from aichatfree_sdk.core.request import AnswerCall
from aichatfree_sdk.core.response import MAX_ERROR_BYTES, ResponseHead

ROW = "limits"


def runtimes(*quick: str) -> pytest.MarkDecorator:
    """Every runtime and library; the quick part has those named, with its own client."""
    return pytest.mark.parametrize("runtime", [_runtime(it, it.name in quick and it.own) for it in RUNTIMES])


def on_each_runtime(faults: list[Fault], quick: dict[str, str]) -> pytest.MarkDecorator:
    """Every fault on every runtime and library; the quick part has those named, on the runtime that can fail most."""
    params = [
        _runtime(it, it.own and quick.get(fault.where) == it.name, fault, name=f"{fault.where}-{it.id}")
        for fault in faults
        for it in RUNTIMES
    ]
    return pytest.mark.parametrize(("fault", "runtime"), params)


def _runtime(runtime: Runtime, quick: bool, *values: Any, name: str = "") -> Any:
    return pytest.param(*values, runtime, id=name or runtime.id, marks=() if quick else pytest.mark.full)


each_runtime = runtimes("sync", "asyncio", "trio")

# Sizes.


def body_of(size: int) -> bytes:
    """Return so many bytes of UTF-8, of characters of one to four."""
    text = "aб字🙂" * (size // 10)
    return (text + "x" * (size - len(text.encode()))).encode()


def framed(body: bytes, framing: str, piece: int, status: int = 200) -> list[Step]:
    if framing == "chunked":
        pieces = b"".join(chunk(body[start : start + piece]) for start in range(0, len(body), piece))
        return [head(status, "Transfer-Encoding: chunked"), pieces, END]
    return whole(status, body) if framing == "length" else [head(status), body, Do.CLOSE]


@each_runtime
def test_an_answer_may_be_as_long_as_allowed_and_no_longer(runtime: Runtime, cases: Cases) -> None:
    ways = [("chunked", 1), ("chunked", 3), ("chunked", 65_536), ("length", 0), ("close", 0)]
    for limit in cases.choose((1, 12, 65_536), (1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 19, 100, 65_535, 65_536, 2**20)):
        tries = [
            (size, *way)
            for way in ways
            if limit < 1000 or way[1] not in (1, 3)
            for size in (limit - 1, limit, limit + 1)
        ]
        scripts = [framed(body_of(size), *way) for size, *way in tries]
        with cases.case(limit), ScriptedServer(*scripts) as server:
            calls = [{"prompt": "q", "conversation": Conversation()} for _ in tries]
            outcomes = runtime.ask_all(server.url, calls, max_reply_bytes=limit, timeout=PATIENT)
            for (size, *way), call, outcome in zip(tries, calls, outcomes, strict=True):
                check_chat(outcome, **call)
                text = body_of(size)[:limit].decode(errors="ignore")
                expected = sdk.EmptyReplyError if size == 0 else sdk.InvalidReplyError if size > limit else None
                assert outcome.text == text, (size, way)
                if expected is None:
                    assert outcome.error is None, (size, way)
                else:
                    assert type(outcome.error) is expected, (size, way)
                    assert outcome.error.partial_text == text
                    assert size == 0 or "max_reply_bytes" in str(outcome.error)
        cases.count(len(tries) - 1)


def refusal_of(size: int) -> bytes:
    words = {"error": {"message": "Invalid password.", "more": ""}}
    words["error"]["more"] = "x" * (size - len(json.dumps(words)))
    return json.dumps(words).encode()


@each_runtime
def test_an_error_is_read_as_far_as_allowed_and_no_farther(runtime: Runtime, cases: Cases) -> None:
    sizes = (MAX_ERROR_BYTES - 1, MAX_ERROR_BYTES, MAX_ERROR_BYTES + 1, 10 * MAX_ERROR_BYTES)
    for framing, size in itertools.product(("chunked", "length", "close"), sizes):
        body = refusal_of(size)
        script = framed(body, framing, 10_000, status=401)
        with cases.case(framing, size), ScriptedServer(script, then=answer("next")) as server:
            call = {"prompt": "q", "conversation": Conversation()}
            refused, following = runtime.ask_all(server.url, [call, {"prompt": "q"}], timeout=PATIENT)
            check_chat(refused, **call)
            assert isinstance(refused.error, sdk.AuthenticationError)
            assert refused.error.body == body[:MAX_ERROR_BYTES]
            if size <= MAX_ERROR_BYTES:
                assert type(refused.error) is sdk.InvalidPasswordError
            assert following.text == "next"
            # What is not read to its end is dropped; aiohttp may have read the end while we read what is before it.
            exact = size - MAX_ERROR_BYTES in ((0, 1) if runtime.library is aiohttp else (0,))
            if framing != "close" and not exact:
                assert (server.connections == 1) is (size < MAX_ERROR_BYTES)


# Clocks, moved by hand.

SHORTEST = 0.001  # what is left of a clock that has run out: a socket's timeout of 0 means something else


def begin(timeout: Timeout, **retry: float) -> tuple[Exchange, Clock]:
    clock = Clock()
    settings = Settings(base_url=URL, timeout=timeout, retry=RetryPolicy(**retry))  # type: ignore[arg-type]
    exchange = Exchange(AnswerCall(settings, (Message("user", "q"),)), settings, RetryBudget(), clock)
    exchange.attempt_started(time_ms=0, jitter=0.5)
    return exchange, clock


def advance(exchange: Exchange, to: str) -> Limits:
    """Bring an exchange that is sending to where its head, or its first text, has come, and return its limits."""
    assert isinstance(exchange.action, SendRequest)
    limits = exchange.action.limits
    if to in ("head", "text"):
        exchange.response_started(ResponseHead(200, [("transfer-encoding", "chunked")]))
    if to == "text":
        assert exchange.feed(b"a") == "a"
    return limits


def fail(exchange: Exchange, kind: FailureKind = FailureKind.TIMEOUT) -> type[Exception]:
    exchange.transport_failed(TransportFailure(kind))
    if exchange.state is State.CLOSING:
        exchange.closed()
    assert isinstance(exchange.action, Fail)
    return type(exchange.action.error)


def come(exchange: Exchange, clock: Clock, limits: Limits, data: bytes, *, after: float) -> str | type[Exception]:
    """Have ``data`` come after so many seconds to one who waits as long as he may, and return the text or the error.

    What comes in the very moment in which a wait ends is there, as on a socket.
    """
    longest = limits.wait()
    assert longest is not None
    clock.now += min(after, longest)
    return fail(exchange) if after > longest else exchange.feed(data)


@pytest.mark.parametrize("at", ["request", "head"])
def test_the_first_text_clock_runs_out_at_its_limit(at: str, cases: Cases) -> None:
    for limit, off in AROUND:
        cases.count()
        exchange, clock = begin(evolve(NEVER, first_text=limit, idle=500.0), max_retries=0)
        limits = advance(exchange, at)
        clock.now += limit + off
        assert limits.wait() == limits.connect_wait() == max(-off, SHORTEST)
        if off >= 0:
            assert fail(exchange) is sdk.FirstTextTimeoutError
        elif at == "head":
            assert exchange.feed(b"a") == "a"
            assert limits.wait() == 500.0  # the clock has done its work


def test_the_first_text_is_waited_for_until_its_clock_has_run_out(cases: Cases) -> None:
    for (limit, off), data in itertools.product(AROUND, (b"b", b"\xd0")):
        cases.count()
        exchange, clock = begin(evolve(NEVER, first_text=limit, idle=500.0), max_retries=0)
        limits = advance(exchange, "head")
        assert come(exchange, clock, limits, b"", after=limit / 2) == ""
        came = come(exchange, clock, limits, data, after=limit / 2 + off)
        assert came == (sdk.FirstTextTimeoutError if off > 0 else data.decode(errors="ignore"))
        # A piece of a character is no text: with it the clock has run out, not only its wait.
        assert limits.expired is (off >= 0 and came != "b")


@pytest.mark.parametrize("at", ["request", "head", "text"])
@pytest.mark.parametrize("flooded", [False, True])
def test_the_total_clock_runs_out_at_its_limit(at: str, flooded: bool, cases: Cases) -> None:
    for limit, off in AROUND:
        cases.count()
        exchange, clock = begin(evolve(NEVER, first_text=500.0, idle=500.0, total=limit), max_retries=0)
        limits = advance(exchange, at)
        clock.now += limit + off
        assert limits.wait() == limits.connect_wait() == max(-off, SHORTEST)
        if flooded and at != "request":  # a server that makes nobody wait
            assert exchange.feed(b"b") == "b"
            assert exchange.reading is (off < 0)
            if off >= 0:
                exchange.closed()
                assert isinstance(exchange.action, Fail)
                assert type(exchange.action.error) is sdk.TotalTimeoutError
        elif off >= 0:
            assert fail(exchange) is sdk.TotalTimeoutError


def test_the_idle_clock_begins_anew_with_each_wait(cases: Cases) -> None:
    for limit, off in AROUND:
        cases.count()
        exchange, clock = begin(evolve(NEVER, idle=limit), max_retries=0)
        limits = advance(exchange, "text")
        for _ in range(3):
            clock.now += 500.0  # whoever reads may take his time
            assert come(exchange, clock, limits, b"b", after=limit) == "b"
        assert come(exchange, clock, limits, b"b", after=limit + off) == ("b" if off <= 0 else sdk.IdleTimeoutError)


def test_the_idle_clock_ends_no_later_than_the_call(cases: Cases) -> None:
    for limit, more in AROUND:
        cases.count()
        exchange, clock = begin(evolve(NEVER, idle=limit, total=1000.0), max_retries=0)
        limits = advance(exchange, "text")
        left = limit + more
        clock.now = Clock.now + 1000.0 - left
        assert limits.wait() == min(limit, left)
        clock.now += min(limit, left)
        assert fail(exchange) is (sdk.IdleTimeoutError if more > 0 else sdk.TotalTimeoutError)


@pytest.mark.parametrize("kind", [FailureKind.CONNECT_TIMEOUT, FailureKind.POOL_TIMEOUT])
def test_a_connection_is_waited_for_no_longer_than_the_call(kind: FailureKind, cases: Cases) -> None:
    for limit, more in AROUND:
        cases.count()
        exchange, clock = begin(evolve(NEVER, connect=limit, total=1000.0), max_retries=0)
        limits = advance(exchange, "request")
        left = limit + more
        clock.now = Clock.now + 1000.0 - left
        assert limits.connect_wait() == min(limit, left)
        clock.now += min(limit, left)
        assert fail(exchange, kind) is (sdk.ConnectTimeoutError if more > 0 else sdk.TotalTimeoutError)


@pytest.mark.parametrize("bound", ["total", "max_retry_after"])
def test_no_retry_is_waited_for_beyond_the_call_or_the_cap(bound: str, cases: Cases) -> None:
    for limit, off in itertools.product((2, 7, 120), (-1, 0, 1)):
        cases.count()
        total = 100.0 + limit if bound == "total" else None
        exchange, clock = begin(evolve(NEVER, total=total), max_retry_after=500.0 if total else limit)
        clock.now += 100.0
        exchange.response_started(ResponseHead(429, [("retry-after", str(limit + off))]))
        exchange.body_ended()
        exchange.closed()
        # A retry that begins as the call ends is of no use.
        allowed = off < 0 or (off == 0 and bound == "max_retry_after")
        assert isinstance(exchange.action, StartAttempt if allowed else Fail)


def test_a_request_is_sent_again_as_often_as_allowed_and_no_oftener(cases: Cases) -> None:
    for limit, failures in itertools.product((0, 1, 2, 7), range(1, 9)):
        cases.count()
        exchange, _ = begin(NEVER, max_retries=limit)
        for sent in range(min(failures, limit + 1)):
            if sent:
                exchange.attempt_started(time_ms=0, jitter=0.5)
            exchange.transport_failed(TransportFailure(FailureKind.CONNECT))
        assert isinstance(exchange.action, Fail if failures > limit else StartAttempt)


# Clocks, over a socket.


@on_each_runtime(
    RUN_OUT,
    quick={
        "connect: no TLS": "trio",
        "first_text: a trailer": "asyncio",
        "first_text: a slow head": "trio",
        "first_text: a flood": "sync",
        "idle: half a character": "trio",
        "total: no TLS": "asyncio",
        "total: no end": "trio",
        "total: a slow upload": "sync",
    },
)
def test_a_clock_ends_what_lasts_for_ever_and_not_too_soon(fault: Fault, runtime: Runtime) -> None:
    began = time.monotonic()
    check(fault, runtime, reused=False, secure=bool(fault.secure))
    took = time.monotonic() - began
    assert took >= SOON - 0.02  # event loops round
    assert took < 2.5  # none of them ends by itself before 3 s


@on_each_runtime(PASS, quick={"connect": "asyncio", "first_text": "trio", "total": "sync", "idle": "sync"})
def test_a_clock_lets_pass_what_takes_a_quarter_of_it(fault: Fault, runtime: Runtime) -> None:
    check(fault, runtime, reused=False, secure=bool(fault.secure))


@each_runtime
def test_a_full_pool_is_not_waited_for_longer_than_allowed(runtime: Runtime, cases: Cases) -> None:
    clocks = [(Timeout(connect=SOON), sdk.ConnectTimeoutError), (Timeout(total=SOON), sdk.TotalTimeoutError)]
    for timeout, error in cases.choose(clocks[runtime.name != "trio" :][:1], clocks):
        with cases.case(timeout), ScriptedServer([head(200), b"a", Do.HOLD], then=answer("late")) as server:
            began = time.monotonic()
            outcome = ask_while_another_reads(runtime, server.url, timeout, reads=False)
            took = time.monotonic() - began
            assert type(outcome) is error
            assert "pool is full" in str(outcome)
            assert took >= SOON - 0.02  # event loops round
            assert took < 2.5


@runtimes("sync")
def test_the_total_clock_counts_the_wait_for_a_free_connection_and_what_follows_it(runtime: Runtime) -> None:
    """The pool has one connection. It is free after 1.2 s; then a TLS handshake begins that never ends."""
    holder = [head(200, "Connection: close"), b"a", Pause(1.2), Do.CLOSE]
    context = server_context()
    greetings = [[StartTLS(context)], FOR_EVER]
    with ScriptedServer(holder, then=answer("late"), greetings=greetings, tls=context) as server:
        began = time.monotonic()
        outcome = ask_while_another_reads(runtime, server.url, Timeout(total=1.5), reads=True)
        took = time.monotonic() - began
    assert type(outcome) is sdk.TotalTimeoutError
    # Were the clock not looked at again before the handshake, that would have 1.5 s for itself: 2.7 in all.
    assert took < 2.6


def ask_while_another_reads(runtime: Runtime, url: str, timeout: Timeout, *, reads: bool) -> BaseException:
    """Ask while another answer, which is read or not, has the only connection, and return the error.

    After both of them that connection is free: whoever is next is answered.
    """
    options: dict[str, Any] = {"retry": RetryPolicy(max_retries=0), "max_connections": 1}
    chat = Conversation()
    if runtime.name == "sync":
        with runtime.http(max_connections=1) as http, Client(url, **runtime.given(http, 1), **options) as client:
            with client.stream("a") as first:
                reader = threading.Thread(target=first.drain if reads else first.__iter__)
                reader.start()
                with pytest.raises(sdk.AIChatFreeError) as caught:
                    client.ask("b", conversation=chat, timeout=timeout)
                reader.join(20)
                assert not reader.is_alive()
            check_chat(Outcome(), "b", chat)
            assert client.ask("c").text == "late"
        return caught.value

    async def main() -> BaseException:
        async with (
            runtime.http("Async", max_connections=1) as http,
            AsyncClient(url, **runtime.given(http, 1), **options) as client,
        ):
            with anyio.fail_after(20):
                async with client.stream("a") as first, anyio.create_task_group() as group:
                    if reads:
                        group.start_soon(first.drain)
                    with pytest.raises(sdk.AIChatFreeError) as caught:
                        await client.ask("b", conversation=chat, timeout=timeout)
                check_chat(Outcome(), "b", chat)
                assert (await client.ask("c")).text == "late"
        return caught.value

    return hygiene.run(main, backend=runtime.name)


# Bombs.

MEBIBYTE = 2**20
MOST = 8 * MEBIBYTE


@functools.cache
def bomb(encoding: str, size: int) -> bytes:
    """Return ``size`` zeros, compressed to a thousandth of it."""
    if encoding == "br":
        return bytes(size // 1000)  # the standard library has no Brotli; nobody is to look inside it, either
    packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    return b"".join([*(packer.compress(bytes(MEBIBYTE)) for _ in range(size // MEBIBYTE)), packer.flush()])


def bombs(size: int) -> Iterator[tuple[str, int, list[Step]]]:
    for encoding, status in itertools.product(("gzip", "deflate", "br"), (200, 500)):
        yield encoding, status, whole(status, bomb(encoding, size), f"Content-Encoding: {encoding}")


@each_runtime
def test_a_compressed_bomb_costs_less_than_8_mib(runtime: Runtime, cases: Cases) -> None:
    for encoding, status, script in bombs(cases.choose(16, 1024) * MEBIBYTE):
        expected = sdk.InvalidReplyError if status == 200 else sdk.ServerError
        with cases.case(encoding, status, "answer"), ScriptedServer(script, then=answer("next")) as server:
            call = {"prompt": "q", "conversation": Conversation()}
            with memory_bounded():
                bombed, following = runtime.ask_all(server.url, [call, {"prompt": "q"}])
            check_chat(bombed, **call)
            assert type(bombed.error) is expected
            assert following.text == "next"
        with cases.case(encoding, status, "password"), ScriptedServer(script, then=answer("next")) as server:
            with memory_bounded():
                check_password(runtime, server.url, expected)


@contextlib.contextmanager
def memory_bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST


def check_password(runtime: Runtime, url: str, expected: type[Exception]) -> None:
    """Check a password in vain, and ask something on the same connection, or in its place: there is one."""
    if runtime.name == "sync":
        with runtime.http(max_connections=1) as http, Client(url, **runtime.given(http, 1)) as client:
            with pytest.raises(expected):
                client.check_password()
            assert client.ask("q").text == "next"
        return

    async def main() -> None:
        async with (
            runtime.http("Async", max_connections=1) as http,
            AsyncClient(url, **runtime.given(http, 1), max_connections=1) as client,
        ):
            with pytest.raises(expected):
                await client.check_password()
            assert (await client.ask("q")).text == "next"

    hygiene.run(main, backend=runtime.name)


CHILD = """
import pathlib, re, sys
url, name, *sys.path = sys.argv[1:]
from runtimes import RUNTIMES

def most():
    return re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]

def calls():
    yield {"prompt": "warm"}
    before = most()
    for _ in range(6):
        yield {"prompt": "q"}
    print(before, most())

runtime = next(runtime for runtime in RUNTIMES if runtime.id == name)
print(*(type(outcome.error).__name__ for outcome in runtime.ask_all(url, calls())))
"""


@pytest.mark.full
@each_runtime
def test_a_process_under_bombs_grows_by_less_than_8_mib(runtime: Runtime) -> None:
    scripts = [script for _, _, script in bombs(1024 * MEBIBYTE)]
    with ScriptedServer(answer("warm"), *scripts) as server:
        arguments = [sys.executable, "-c", CHILD, server.url, runtime.id, *sys.path]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)
    memory, errors = done.stdout.splitlines()
    assert errors.split() == ["NoneType", *["InvalidReplyError", "ServerError"] * 3]
    before, after = (int(kibibytes) * 1024 for kibibytes in memory.split())
    assert after - before < MOST
