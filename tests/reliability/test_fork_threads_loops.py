"""Where a client was not made: in a forked child, another thread, another event loop. An answer, or one clear error."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import select
import signal
import ssl
import sys
import threading
import time
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread
import httpx
import hygiene
import outcome
import pytest
from attrs import define, field
from cases import Cases
from scripted_server import CHUNKED, END, Do, ScriptedServer, StartTLS, Step, Take, answer, chunk, head, whole
from tls import authority, server_context

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, Client, Conversation, Message, RetryPolicy, Timeout
from aichatfree_sdk.core.failure import FailureKind
from aichatfree_sdk.core.limits import Limits
from aichatfree_sdk.testing import LocalServer
from aichatfree_sdk.transports.base import Request, TransportFailure
from aichatfree_sdk.transports.httpx import AsyncHttpxTransport, slots
from aichatfree_sdk.transports.httpx.wire import Wire

ROW = "fork, threads, loops"
TLS = ssl.create_default_context()
BACKENDS = pytest.mark.parametrize("backend", hygiene.BACKENDS)
ENDLESS: list[Step] = [CHUNKED, chunk("one "), chunk("two "), Do.HOLD]


def in_a_child(work: Callable[[], str], seconds: float = 20) -> str:
    """Return what ``work`` comes to in a forked child, where it gives no warning either."""
    reader, writer = os.pipe()
    # Not under coverage: another thread may hold a lock of its tracer's at the fork, and the child would wait for it at
    # its first line.
    tracer = sys.gettrace()
    sys.settrace(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about threads and forks: the very thing
        child = os.fork()
    if child == 0:
        threading.settrace(None)  # type: ignore[arg-type]
        try:
            with hygiene.silent():
                told = work()
        except BaseException:
            told = traceback.format_exc()
        os.write(writer, told.encode())
        os._exit(0)
    sys.settrace(tracer)
    os.close(writer)
    with os.fdopen(reader) as file:
        if not select.select([file], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        told = file.read()
    assert os.waitpid(child, 0)[1] == 0, told or "a hang"
    return told


def error_of(ask: Callable[[], object]) -> str:
    try:
        return f"answered {ask()!r}"
    except sdk.AIChatFreeError as error:
        return type(error).__name__


async def aerror_of(ask: Callable[[], Awaitable[object]]) -> str:
    try:
        return f"answered {await ask()!r}"
    except sdk.AIChatFreeError as error:
        return type(error).__name__


def test_a_client_answers_in_a_forked_child_and_goes_on_in_the_parent() -> None:
    with LocalServer() as server, Client(server.url) as client:
        other = client.with_options(model="m")
        for number in range(3):
            assert client.ask("parent").text == "You said: parent"
            told = in_a_child(lambda: client.ask("child").text + other.ask("too", model="m").text)
            assert told == "You said: childYou said: too", number
            assert client.ask("parent").text == "You said: parent"


@contextlib.contextmanager
def held(*locks: Any) -> Iterator[None]:
    """Another thread holds them, as one that opens or closes a connection does."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            taken.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    try:
        yield
    finally:
        done.set()
        thread.join(10)


def locks_of(client: Client) -> list[Any]:
    """Return the lock of httpcore's pool, which a client of our own does not use."""
    pool = client._transport._client._transport._pool  # type: ignore[attr-defined]
    return [lock for lock in [getattr(pool, "_optional_thread_lock", None)] if lock is not None]


def test_what_a_child_closes_it_does_not_wait_for() -> None:
    def close() -> str:
        stream.close()
        late = client.stream("late")
        client.close()
        return f"{chat.busy} {error_of(late.drain)}"

    with ScriptedServer([CHUNKED, chunk("one "), Take(), END]) as server, Client(server.url) as client:
        chat = Conversation()
        stream = client.stream("q", conversation=chat)
        assert next(stream) == "one "
        response: Any = stream._response
        with held(*locks_of(client), response._closing, response._wire.tap.lock):
            assert in_a_child(close) == "False ClientClosedError"
        assert stream.drain().text == "one "


def test_a_child_of_a_child_does_not_wait_for_another_thread_of_the_child() -> None:
    def ask() -> str:
        return client.ask("q").text

    def ask_in_a_child() -> str:
        ask()
        with held(*client._transport._moving.values()):  # type: ignore[attr-defined]
            return in_a_child(ask, 5)

    with LocalServer() as server, Client(server.url) as client:
        client.ask("parent")
        assert in_a_child(ask_in_a_child) == "You said: q"


def test_a_client_that_was_closed_is_closed_in_a_child() -> None:
    with LocalServer() as server, Client(server.url) as client:
        client.ask("parent")
        late = client.stream("late")
        client.close()
        assert in_a_child(lambda: error_of(late.drain)) == "ClientClosedError"


def test_an_http_client_that_was_used_before_the_fork_says_so() -> None:
    with LocalServer() as server, httpx.Client(verify=TLS, trust_env=False) as http:
        client = Client(server.url, http_client=http)
        assert in_a_child(lambda: client.ask("not used before").text) == "You said: not used before"
        client.ask("parent")
        assert in_a_child(lambda: error_of(lambda: client.ask("child"))) == "ClientBoundError"
        assert client.ask("parent").text == "You said: parent"


@contextlib.contextmanager
def forked_in_an_answer() -> Iterator[tuple[threading.Event, str]]:
    """Give what lets the second half of an answer come, and the URL to ask for it."""
    forked = threading.Event()

    def steps() -> Iterator[Step]:
        yield from (CHUNKED, chunk("one "), chunk("two "))
        forked.wait(20)
        yield from (chunk("three"), END)

    with ScriptedServer(steps(), then=answer("next")) as server:
        yield forked, server.url


def refused(chat: Conversation, told: str) -> str:
    return f"{told} {chat.messages} {chat.busy}"


BOUND = refused(Conversation(), "ClientBoundError")


@pytest.mark.parametrize("begun", [False, True], ids=["entered", "begun"])
@pytest.mark.parametrize("given", [False, True], ids=["own", "given"])
def test_a_child_takes_nothing_of_an_answer_that_its_parent_reads(given: bool, begun: bool) -> None:
    def read() -> str:
        told = refused(chat, error_of(stream.drain))
        stream.close()
        return told

    chat = Conversation()
    with forked_in_an_answer() as (forked, url), httpx.Client(verify=TLS, trust_env=False) as http:
        with Client(url, http_client=http if given else None) as client:
            with client.stream("q", conversation=chat) as stream:
                if begun:
                    assert next(stream) == "one "
                with held(*locks_of(client)):
                    assert in_a_child(read) == BOUND
                forked.set()
                assert stream.drain().text == "one two three"


def test_a_child_takes_nothing_from_where_there_is_no_connection() -> None:
    def three(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=iter([b"one ", b"two ", b"three"]))

    with httpx.Client(transport=httpx.MockTransport(three)) as http:
        with Client("http://chat.example", http_client=http).stream("q") as stream:
            assert next(stream) == "one "
            assert in_a_child(lambda: error_of(stream.drain)) == "ClientBoundError"
            assert stream.drain().text == "one two three"


@pytest.mark.parametrize("asks", [False, True], ids=["", "and asks"])
def test_an_open_stream_outlives_a_child_that_drops_it(asks: bool) -> None:
    def drop() -> str:
        nonlocal client, stream
        told = client.ask("q").text if asks else ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del stream, client
            gc.collect()
        return told

    with forked_in_an_answer() as (forked, url):
        client = Client(url)
        stream = client.stream("q")
        assert next(stream) == "one "
        with held(*locks_of(client)):
            assert in_a_child(drop) == ("next" if asks else "")
        forked.set()
        assert stream.drain().text == "one two three"
        client.close()


def at_once(coroutine: Coroutine[Any, Any, str]) -> str:
    """Return what it comes to with checkpoints, but no waits: in a child that goes on in its parent's event loop."""
    try:
        coroutine.send(None)
        for _ in range(100):
            coroutine.send(outcome.Value(None))
    except StopIteration as ended:
        return str(ended.value)
    raise AssertionError("it waits")


def test_a_child_that_goes_on_in_the_event_loop_of_its_parent() -> None:
    """trio's: asyncio itself does nothing there."""

    async def read() -> str:
        told = [await aerror_of(stream.drain), await aerror_of(lambda: client.ask("q")), await aerror_of(client.aclose)]
        await stream.aclose()
        return refused(chat, " ".join(told))

    async def main() -> None:
        nonlocal client, stream
        async with AsyncClient(url) as client, client.stream("q", conversation=chat) as stream:
            assert await anext(stream) == "one "
            response: Any = stream._response
            with held(response._wire.tap.lock):
                assert in_a_child(lambda: at_once(read())) == f"ClientBoundError ClientBoundError {BOUND}"
            forked.set()
            assert (await stream.drain()).text == "one two three"
            assert (await client.ask("q")).text == "next"

    chat = Conversation()
    client: AsyncClient
    stream: sdk.AsyncStream
    with forked_in_an_answer() as (forked, url):
        hygiene.run(main, backend="trio")


def test_a_fork_while_other_threads_ask(cases: Cases) -> None:
    """Whatever lock one of them holds at that moment, the child does not wait for it."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def ask(client: Client) -> None:
        try:
            while not stop.is_set():
                client.ask("parent")
        except BaseException as error:
            failures.append(error)

    with LocalServer() as server, Client(server.url) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for number in range(cases.choose(5, 200)):
                cases.count()
                assert in_a_child(lambda: client.ask("child").text) == "You said: child", number
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
    assert failures == []


@BACKENDS
def test_an_async_client_in_a_forked_child(backend: str) -> None:
    with LocalServer() as server:
        client = AsyncClient(server.url)

        async def ask() -> str:
            return (await client.ask("q")).text

        async def ask_and_close() -> str:
            async with client:
                return await ask()

        assert in_a_child(lambda: anyio.run(ask_and_close, backend=backend)) == "You said: q"
        anyio.run(ask_and_close, backend=backend)
        assert in_a_child(lambda: error_of(lambda: anyio.run(ask, backend=backend))) == "ClientClosedError"


@BACKENDS
def test_an_async_client_that_was_used_before_the_fork_says_so(backend: str) -> None:
    def ask_anew() -> str:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(error_of, lambda: anyio.run(client.ask, "q", backend=backend)).result()

    async def main() -> None:
        nonlocal client
        async with AsyncClient(server.url) as client:
            await client.ask("q")
            assert in_a_child(ask_anew) == "ClientBoundError"
            assert (await client.ask("q")).text == "You said: q"

    client: AsyncClient
    with LocalServer() as server:
        hygiene.run(main, backend=backend)


@pytest.mark.parametrize("second", hygiene.BACKENDS)
@pytest.mark.parametrize("first", hygiene.BACKENDS)
def test_an_async_client_belongs_to_the_loop_that_it_was_first_used_in(first: str, second: str) -> None:
    with ScriptedServer(ENDLESS) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # what is left open at the end of a loop, which tells so
        use_in_two_loops(server.url, first, second)
        gc.collect()


def use_in_two_loops(url: str, first: str, second: str) -> None:
    chat = Conversation()
    client = AsyncClient(url, timeout=Timeout(idle=5))
    stream = client.stream("q", conversation=chat)

    async def begin() -> str:
        return await anext(stream)

    async def rest() -> list[str]:
        return [delta async for delta in stream]

    assert anyio.run(begin, backend=first) == "one "
    # The end of the loop has closed what the stream reads from: that is no end of the answer.
    assert error_of(lambda: anyio.run(rest, backend=second)) == "StreamInterruptedError"
    assert (chat.messages, chat.busy) == ((), False)
    assert error_of(lambda: anyio.run(client.ask, "q", backend=second)) == "ClientBoundError"
    assert error_of(lambda: anyio.run(client.aclose, backend=second)) == "ClientBoundError"


@BACKENDS
def test_an_async_client_in_two_loops_at_once(backend: str) -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url) as client:
            assert (await client.ask("q")).text == "You said: q"
            told = await anyio.to_thread.run_sync(lambda: error_of(lambda: anyio.run(client.ask, "q", backend=backend)))
            assert told == "ClientBoundError"
            assert (await client.ask("q")).text == "You said: q"

    with LocalServer() as server:
        hygiene.run(main, server.url, backend=backend)


@BACKENDS
def test_a_dropped_async_stream_gives_its_connection_back_to_the_next_request(backend: str, cases: Cases) -> None:
    number = cases.choose(3, 100)

    async def main(url: str) -> None:
        async with AsyncClient(url, max_connections=1) as client:
            for _ in range(number):
                cases.count()
                stream = client.stream("q")
                assert await anext(stream) == "one "
                with pytest.warns(ResourceWarning, match="dropped unclosed"):
                    del stream
                with anyio.fail_after(10):
                    assert (await client.ask("q")).text == "next"

    with ScriptedServer(*[ENDLESS, answer("next")] * number) as server:
        hygiene.run(main, server.url, backend=backend)


READERS_WAIT: dict[str, tuple[list[Step], str]] = {
    "for the head": ([], ""),
    "for the body": ([CHUNKED], ""),
    "in the answer": ([CHUNKED, chunk("one ")], "one "),
    "in an answer that ends by closing": ([head() + b"one "], "one "),
    "for an error's body": ([head(400, "Content-Length: 9"), b"{"], ""),
    "to try again": (whole(503), ""),
}


@pytest.mark.parametrize(
    ("waits", "closes"),
    # Closing the client lets a wait before a retry end by itself.
    [it for it in itertools.product(READERS_WAIT, ("stream", "client")) if it != ("to try again", "client")],
)
def test_closing_in_another_thread_wakes_a_reader_that_waits(waits: str, closes: str, cases: Cases) -> None:
    for number in range(cases.choose(6, 60)):  # which of the two threads goes first is not for us to say
        with cases.case(number):
            close_in_another_thread(waits, closes)


def close_in_another_thread(waits: str, closes: str) -> None:
    sent, text = READERS_WAIT[waits]
    chat, errors, reached = Conversation(), list[sdk.AIChatFreeError](), threading.Event()

    def script() -> Iterator[Step]:
        yield from sent
        reached.set()
        yield Do.HOLD

    read_some = threading.Event()

    def read() -> None:
        try:
            for _ in stream:
                read_some.set()
        except sdk.AIChatFreeError as error:
            errors.append(error)

    with ScriptedServer(script()) as server:
        # An hour: a reader that is not woken would still be there when the test looks.
        client = Client(
            server.url, timeout=Timeout(first_text=3600, idle=3600), retry=RetryPolicy(base_delay=3600, max_delay=3600)
        )
        stream = client.stream("q", conversation=chat)
        thread = threading.Thread(target=read)
        thread.start()
        assert reached.wait(10)
        assert not text or read_some.wait(10)
        (stream if closes == "stream" else client).close()
        thread.join(10)
        assert not thread.is_alive()
        stream.close()
        client.close()
    assert [type(error) for error in errors] in (
        [sdk.StreamInterruptedError if closes == "stream" else sdk.ClientClosedError],
        [sdk.BadRequestError],
    )
    assert type(errors[0]) is not sdk.BadRequestError or waits == "for an error's body"
    assert errors[0].partial_text == text
    assert (chat.messages, chat.busy) == ((), False)


@BACKENDS
@pytest.mark.parametrize("closes", ["stream", "client"])
@pytest.mark.parametrize("waits", READERS_WAIT)
def test_closing_in_another_task_wakes_a_reader_that_waits(waits: str, closes: str, backend: str, cases: Cases) -> None:
    sent, text = READERS_WAIT[waits]
    chat, errors = Conversation(), list[sdk.AIChatFreeError]()

    async def main(url: str) -> None:
        clocks = Timeout(first_text=3600, idle=3600)
        client = AsyncClient(url, timeout=clocks, retry=RetryPolicy(base_delay=3600, max_delay=3600))
        stream, reads = client.stream("q", conversation=chat), anyio.Event()

        async def read() -> None:
            try:
                async for _ in stream:
                    reads.set()
            except sdk.AIChatFreeError as error:
                errors.append(error)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await anyio.to_thread.run_sync(reached.wait, 10)
                if text:
                    await reads.wait()
                await (stream if closes == "stream" else client).aclose()
                if (waits, closes) == ("to try again", "client"):
                    await stream.aclose()  # that wait ends by itself
        await stream.aclose()
        await client.aclose()

    reached = threading.Event()

    def script() -> Iterator[Step]:
        yield from sent
        reached.set()
        yield Do.HOLD

    for _ in range(cases.choose(2, 60)):
        reached.clear()
        errors.clear()
        with cases.case(waits), ScriptedServer(script()) as server:
            hygiene.run(main, server.url, backend=backend)
        told = sdk.StreamInterruptedError if closes == "stream" or waits == "to try again" else sdk.ClientClosedError
        assert [type(error) for error in errors] in ([told], [sdk.BadRequestError])
        assert type(errors[0]) is not sdk.BadRequestError or waits == "for an error's body"
        assert errors[0].partial_text == text
        assert (chat.messages, chat.busy) == ((), False)


@BACKENDS
@pytest.mark.parametrize("entered", [False, True], ids=["read", "entered"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "behind"])
def test_closing_in_another_task_around_the_coming_of_the_head(late: bool, entered: bool, backend: str) -> None:
    """The head has come, and the reader is still to be told: too late to be cancelled."""

    class Late(AsyncHttpxTransport):
        async def open(self, request: Request, limits: Limits) -> Any:
            response = await super().open(request, limits)
            group.start_soon(stream.aclose)
            if not late:
                with anyio.CancelScope(shield=True):
                    await anyio.wait_all_tasks_blocked()
            return response

    async def main(url: str) -> str:
        nonlocal group, stream

        async def enter() -> None:
            async with stream:
                pass

        transport = Late()
        async with AsyncClient(url, transport=transport, timeout=Timeout(first_text=3600)) as client:
            stream = client.stream("q")
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    told = await aerror_of(enter if entered else stream.drain)
        await transport.aclose()
        return told

    group: anyio.abc.TaskGroup
    stream: sdk.AsyncStream
    with ScriptedServer([CHUNKED, Do.HOLD]) as server:
        told = hygiene.run(main, server.url, backend=backend)
    in_time = late and entered  # nothing runs between the two
    assert told == ("answered None" if in_time else "StreamInterruptedError")


def test_of_many_turns_at_once_on_one_conversation_one_is_taken(cases: Cases) -> None:
    with LocalServer() as server, Client(server.url) as client:
        for number in range(cases.choose(5, 200)):
            cases.count()
            chat, told = Conversation(), list[str]()
            gate = threading.Barrier(8)

            def ask(chat: Conversation = chat, told: list[str] = told, gate: threading.Barrier = gate) -> None:
                gate.wait(10)
                told.append(error_of(lambda: client.ask("q", conversation=chat).text))

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            answered = [it for it in told if it.startswith("answered")]
            assert set(told) - set(answered) <= {"ConversationBusyError"}, number
            assert len(chat.messages) == 2 * len(answered) > 0
            assert not chat.busy


def test_a_loop_that_ends_while_a_stream_is_closed(cases: Cases) -> None:
    """asyncio.run cancels every task at its end, those too that are cleaning up."""

    async def main(url: str, chat: Conversation, passes: int) -> None:
        client = AsyncClient(url)
        stream = client.stream("q", conversation=chat)
        assert await anext(stream) == "one "
        closing = asyncio.create_task(stream.aclose())
        for _ in range(passes):
            await asyncio.sleep(0)
        assert not closing.done() or passes

    for passes in range(cases.choose(4, 20)):
        cases.count()
        chat = Conversation()
        with ScriptedServer(ENDLESS) as server, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the client was not closed
            asyncio.run(main(server.url, chat, passes))
            gc.collect()
        assert (chat.messages, chat.busy) == ((), False)


@BACKENDS
def test_closing_a_client_that_connects_ends_that(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: Cases
) -> None:
    """A TLS handshake that the server does not go on with, and then does."""
    go_on = threading.Event()
    authority("trusted").cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def greeting() -> Iterator[Step]:
        yield Take()
        go_on.wait(20)
        yield StartTLS(server_context())

    async def main(url: str) -> list[str]:
        told: list[str] = []

        async def ask() -> None:
            told.append(await aerror_of(lambda: client.ask("q")))

        client = AsyncClient(url, retry=RetryPolicy(max_retries=0))
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            while server.connections == 0:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            await client.aclose()
            go_on.set()
        return told

    scripts = {"greetings": [greeting()], "then": answer("late")}
    with cases.case(backend), ScriptedServer(**scripts, tls=server_context()) as server:
        assert hygiene.run(main, server.url, backend=backend) == ["ClientClosedError"]


def test_all_tasks_cancelled_at_any_pass(cases: Cases) -> None:
    """As at the end of a loop that is run by asyncio.run: what cleans up is cancelled, too."""

    async def stopped_after(passes: int, client: AsyncClient, times: int) -> bool:
        chat = Conversation()

        async def ask() -> None:
            await client.ask("q", conversation=chat)

        task = asyncio.create_task(ask())
        for _ in range(passes):
            await asyncio.sleep(0)
        ended = task.done()
        for _ in range(times):
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                other.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        assert not chat.busy, passes
        assert len(chat.messages) in (0, 2), passes
        return ended

    async def main(url: str) -> None:
        async with AsyncClient(url, max_connections=1, timeout=Timeout(connect=5, first_text=5)) as client:
            for times in (1, 2):
                for passes in range(0, 400, cases.choose(3, 1)):
                    cases.count()
                    ended = await stopped_after(passes, client, times)
                    assert (await client.ask("next")).text == "You said: next", (times, passes)
                    if ended:
                        break

    with LocalServer() as server:
        hygiene.run(main, server.url, backend="asyncio")


def test_a_client_that_is_closed_while_threads_ask(cases: Cases) -> None:
    told: set[str] = set()

    def ask(client: Client, start: threading.Barrier) -> None:
        start.wait(10)
        while True:
            said = error_of(lambda: client.ask("q").text)
            told.add(said)
            if said != "answered 'You said: q'":
                return

    for number in range(cases.choose(5, 150)):
        with cases.case(number), LocalServer() as server:
            client, start = Client(server.url), threading.Barrier(7)
            threads = [threading.Thread(target=ask, args=(client, start)) for _ in range(6)]
            for thread in threads:
                thread.start()
            start.wait(10)
            client.ask("q")
            client.close()
            for thread in threads:
                thread.join(20)
                assert not thread.is_alive()
    assert told <= {"answered 'You said: q'", "ClientClosedError"}


def test_a_fork_while_other_threads_use_conversations(cases: Cases) -> None:
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            turn = Conversation().prepare([Message("user", "q")])
            turn.begin()
            turn.interrupt("")

    def use_once() -> str:
        turn = Conversation().prepare([Message("user", "q")])
        turn.begin()
        return "begun"

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(cases.choose(10, 200)):
            cases.count()
            assert in_a_child(use_once) == "begun", number
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)


def test_threads_that_share_a_client_in_a_child_share_one_there() -> None:
    def ask_at_once() -> str:
        with ThreadPoolExecutor(8) as threads:
            told = {answer.text for answer in threads.map(client.ask, ["child"] * 16)}
        return f"{told} {len(client._transport._inherited)}"  # type: ignore[attr-defined]

    with LocalServer() as server, Client(server.url) as client:
        client.ask("parent")
        assert in_a_child(ask_at_once) == "{'You said: child'} 1"


@BACKENDS
def test_closing_wakes_a_task_that_reads_where_there_is_no_connection(backend: str) -> None:
    async def endless(_: httpx.Request) -> httpx.Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"one "
            await anyio.sleep_forever()

        return httpx.Response(200, content=body())

    async def main() -> str:
        errors: list[str] = []

        async def read() -> None:
            errors.append(await aerror_of(stream.drain))

        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(endless)) as http,
            AsyncClient("http://chat.example", http_client=http, timeout=Timeout(idle=None)) as client,
        ):
            stream = client.stream("q")
            assert await anext(stream) == "one "
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    group.start_soon(read)
                    await anyio.wait_all_tasks_blocked()
                    await stream.aclose()
        return errors[0]

    assert anyio.run(main, backend=backend) == "StreamInterruptedError"


@BACKENDS
def test_a_dropped_async_stream_gives_its_connection_to_who_waits_for_it(backend: str, cases: Cases) -> None:
    number = cases.choose(3, 100)

    async def main(url: str) -> None:
        async with AsyncClient(url, max_connections=1, timeout=Timeout(connect=None)) as client:
            for _ in range(number):
                cases.count()
                told: list[str] = []

                async def ask(told: list[str] = told) -> None:
                    told.append((await client.ask("q")).text)

                stream = client.stream("q")
                assert await anext(stream) == "one "
                with anyio.fail_after(10):
                    async with anyio.create_task_group() as group:
                        for _ in range(2):
                            group.start_soon(ask)
                        await anyio.wait_all_tasks_blocked()
                        assert told == []
                        with pytest.warns(ResourceWarning, match="dropped unclosed"):
                            del stream
                assert told == ["next", "next"]

    with ScriptedServer(*[ENDLESS, answer("next"), answer("next")] * number) as server:
        hygiene.run(main, server.url, backend=backend)


@define
class Queue:
    """A client whose one connection a stream has, and the streams of threads that wait for it as long as it takes."""

    server: ScriptedServer
    client: Client = field(init=False)
    first: sdk.Stream = field(init=False)
    waiting: list[sdk.Stream] = field(factory=list, init=False)
    threads: list[threading.Thread] = field(factory=list, init=False)
    told: list[str] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.client = Client(self.server.url, max_connections=1, timeout=Timeout(connect=None))
        self.first = self.client.stream("first")
        assert next(self.first) == "one "

    def add(self, number: int) -> None:
        for _ in range(number):
            self.waiting.append(self.client.stream(f"q{len(self.waiting)}"))
            self.threads.append(threading.Thread(target=self.read, args=(self.waiting[-1],)))
            self.threads[-1].start()
            give_up = time.monotonic() + 10
            while len(self.client._transport.slots._waiting) < len(self.waiting):  # type: ignore[attr-defined]
                assert time.monotonic() < give_up
                os.sched_yield()

    def read(self, stream: sdk.Stream) -> None:
        self.told.append(error_of(lambda: stream.drain().text))

    @property
    def asked(self) -> list[str]:
        """What the server was asked, in order."""
        return [request["messages"][-1]["parts"][0]["text"] for request in self.server.requests]

    def join(self) -> list[str]:
        for thread in self.threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in self.threads)
        return self.told


@BACKENDS
def test_a_closed_async_client_wakes_the_tasks_that_wait_for_a_connection(backend: str) -> None:
    async def main(url: str) -> list[str]:
        told: list[str] = []

        async def ask() -> None:
            told.append(await aerror_of(lambda: client.ask("q")))

        client = AsyncClient(url, max_connections=1, timeout=Timeout(connect=None))
        async with client.stream("q") as stream:
            assert await anext(stream) == "one "
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    for _ in range(3):
                        group.start_soon(ask)
                    await anyio.wait_all_tasks_blocked()
                    await client.aclose()
        return told

    with ScriptedServer(ENDLESS) as server:
        assert hygiene.run(main, server.url, backend=backend) == ["ClientClosedError"] * 3


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setattr(slots, "_LONGEST_WAIT", 3600)  # so that a thread finds nothing out by itself
    with ScriptedServer(ENDLESS, then=answer("next")) as server:
        line = Queue(server)
        line.add(3)
        yield line
        line.client.close()


def test_a_dropped_stream_gives_its_connection_to_the_threads_that_wait_for_it(line: Queue) -> None:
    with pytest.warns(ResourceWarning, match="dropped unclosed"):
        del line.first
        gc.collect()
    assert line.join() == ["answered 'next'"] * 3
    assert line.asked == ["first", "q0", "q1", "q2"]


def test_a_closed_client_wakes_the_threads_that_wait_for_a_connection(line: Queue) -> None:
    line.client.close()
    assert line.join() == ["ClientClosedError"] * 3
    line.first.close()


def test_a_stream_that_is_closed_while_it_waits_for_a_connection_leaves_the_others_in_their_places(line: Queue) -> None:
    line.waiting[1].close()
    line.threads.pop(1).join(10)
    assert line.told == ["StreamInterruptedError"]
    line.first.close()
    assert line.client.ask("late").text == "next"
    assert line.join() == ["StreamInterruptedError", "answered 'next'", "answered 'next'"]
    assert line.asked == ["first", "q0", "q2", "late"]


def wire(clock: Callable[[], float] = lambda: 0.0, deadline: float | None = None) -> Wire:
    return Wire(Limits(clock, deadline=deadline), "chat.example", blocking=True)


def test_who_goes_in_the_moment_that_its_turn_comes_passes_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_LONGEST_WAIT", 3600)
    line, first, later = slots.Slots(1), wire(), wire()
    line.take(first)
    second = threading.Thread(target=line.take, args=(later,))

    def clock() -> float:
        if leaving in line._waiting:
            second.start()
            while len(line._waiting) < 2:
                os.sched_yield()
            line.give_back(first)
        return 1.0

    leaving = wire(clock, deadline=0.0)
    with pytest.raises(TransportFailure):
        line.take(leaving)
    second.join(10)
    assert line.taken == {later}


def test_a_client_that_is_closed_in_the_moment_that_a_turn_comes() -> None:
    line = slots.Slots(1)

    def clock() -> float:
        line.close()
        return 0.0

    with pytest.raises(TransportFailure) as caught:
        line.take(wire(clock, deadline=9.0))
    assert caught.value.kind is FailureKind.CLOSED


def test_a_dropped_stream_hangs_up_without_another_request() -> None:
    with ScriptedServer(ENDLESS) as server, Client(server.url) as client:
        stream = client.stream("q")
        assert next(stream) == "one "
        with pytest.warns(ResourceWarning, match="dropped unclosed"):
            del stream
            gc.collect()
        server._threads[-1].join(10)
        assert not server._threads[-1].is_alive()


@pytest.mark.parametrize("moment", ["POST", "answered", "attempt"])
def test_closing_in_another_thread_just_before_a_wait(moment: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log is where a test can come between two steps of a stream."""

    class Closer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith(moment):
                closer = threading.Thread(target=stream.close)
                closer.start()
                closer.join(10)

    def read() -> None:
        told.append(error_of(stream.drain))

    told, logger, closer = list[str](), logging.getLogger("aichatfree_sdk"), Closer()
    caplog.set_level(logging.DEBUG, logger.name)
    scripts = [whole(503)] if moment == "attempt" else []
    policy = RetryPolicy(base_delay=3600, max_delay=3600)
    then: list[Step] = [Do.HOLD] if moment == "POST" else [CHUNKED, Do.HOLD]
    with ScriptedServer(*scripts, then=then) as server:
        client = Client(server.url, timeout=Timeout(first_text=3600), retry=policy)
        stream = client.stream("q")
        logger.addHandler(closer)
        try:
            reader = threading.Thread(target=read)
            reader.start()
            reader.join(10)
            assert not reader.is_alive()
        finally:
            logger.removeHandler(closer)
        client.close()
    assert told == ["StreamInterruptedError"]
