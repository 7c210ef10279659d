"""A stream is stopped at every pass of the event loop that its life takes, in every way there is."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import httpx2
import hygiene
import pytest
from attrs import define, field, frozen
from cases import Cases
from loop_server import LoopServer, loop_server
from scripted_server import CHUNKED, Do, Step, answer, chunk, whole
from tls import client_context, server_context

from aichatfree_sdk import (
    AsyncClient,
    BadRequestError,
    Conversation,
    Message,
    OverloadedError,
    RetryPolicy,
    StreamInterruptedError,
)
from aichatfree_sdk.async_client import AsyncStream

ROW = "cancellation"
DELTAS = ["Once ", "upon ", "a 🙂"]
TEXT = "".join(DELTAS)
HISTORY = [Message("user", "a"), Message("assistant", "b")]
LIBRARIES = {"httpx": httpx, "httpx2": httpx2}
BACKENDS = pytest.mark.parametrize("backend", hygiene.BACKENDS)
LIBRARY = pytest.mark.parametrize("library", ["httpx", pytest.param("httpx2", marks=pytest.mark.full)])


def script(question: str, before: int) -> Iterable[Step]:
    """What the server does depends on the first word of the question."""
    kind = question.split(maxsplit=1)[0]
    if kind == "refused":
        return whole(400, '{"error": {"message": "no"}}')
    if kind == "retried" and not before:
        return whole(503)
    if kind == "endless":
        return [CHUNKED, *map(chunk, DELTAS), Do.HOLD]
    if kind == "silent":
        return [Do.HOLD]
    if kind == "last":
        return [*whole(200, TEXT, "Connection: close"), Do.CLOSE]
    return answer(*DELTAS)


async def read_all(stream: AsyncStream) -> None:
    async with stream:
        async for _ in stream:
            pass


async def read_bare(stream: AsyncStream) -> None:
    async for _ in stream:
        pass


async def leave_early(stream: AsyncStream) -> None:
    async with stream:
        async for _ in stream:
            break


@frozen
class Life:
    """What the server does, what the reader does with it, and on which connection.

    Attributes:
        kind: the first word of the question.
        read: reads the stream.
        before: the question before it; "last" leaves no connection behind.
        secure: whether it is under TLS.
        tunnel: whether that is behind a proxy.
    """

    kind: str
    read: Callable[[AsyncStream], Awaitable[None]]
    before: str = "next"
    secure: bool = False
    tunnel: bool = False


LIVES = {
    "read to the end": Life("answered", read_all),
    "read without a with block": Life("answered", read_bare),
    "left after a delta": Life("answered", leave_early),
    "left in the middle of an endless answer": Life("endless", leave_early),
    "tried again": Life("retried", read_all),
    "refused": Life("refused", read_all),
    "waiting for more": Life("endless", read_all),
    "waiting for the head": Life("silent", read_all),
    "on a connection of its own": Life("answered", read_all, before="last"),
    "on a connection of its own under TLS": Life("answered", read_all, before="last", secure=True),
    "on a connection of its own behind a proxy": Life("answered", read_all, before="last", secure=True, tunnel=True),
}


@define
class Reader:
    """A task that reads a stream, and what can stop it from outside."""

    stream: AsyncStream
    stop: Callable[[Reader], Awaitable[None]]
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    task: asyncio.Task[None] | None = None
    timeout: asyncio.Timeout | None = None
    outcome: str = ""


async def by_scope(reader: Reader) -> None:
    reader.scope.cancel()


async def by_deadline(reader: Reader) -> None:
    reader.scope.deadline = anyio.current_time()


async def by_closing(reader: Reader) -> None:
    await reader.stream.aclose()


async def by_closing_twice(reader: Reader) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(reader.stream.aclose)
        group.start_soon(reader.stream.aclose)


async def by_closing_and_scope(reader: Reader) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(reader.stream.aclose)
        await anyio.lowlevel.checkpoint()
        reader.scope.cancel()


async def by_task(reader: Reader) -> None:
    assert reader.task is not None
    reader.task.cancel()


async def by_task_twice(reader: Reader) -> None:
    await by_task(reader)
    await asyncio.sleep(0)
    await by_task(reader)


async def by_timeout(reader: Reader) -> None:
    if reader.timeout is None:
        await by_task(reader)  # it has not come so far
    elif not reader.outcome:
        reader.timeout.reschedule(asyncio.get_running_loop().time())


CLOSING = [by_closing, by_closing_twice, by_closing_and_scope]
ANYWHERE = [by_scope, by_deadline, *CLOSING]
ASYNCIO_ONLY = [by_task, by_task_twice, by_timeout]
WAYS = [(backend, stop) for stop in ANYWHERE for backend in hygiene.BACKENDS]
WAYS += [("asyncio", stop) for stop in ASYNCIO_ONLY]


@contextlib.asynccontextmanager
async def client_and_server(
    library: str, connections: int = 1, *, secure: bool = False, tunnel: bool = False
) -> AsyncGenerator[tuple[AsyncClient, LoopServer]]:
    module: Any = LIBRARIES[library]
    limits = module.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with (
        loop_server(script, server_context() if secure else None, tunnel=tunnel) as server,
        module.AsyncClient(verify=client_context(), trust_env=False, limits=limits, proxy=server.proxy) as http,
        AsyncClient(
            server.url, http_client=http, max_connections=connections, retry=RetryPolicy(base_delay=0)
        ) as client,
    ):
        yield client, server


async def run_reader(reader: Reader, read: Callable[[AsyncStream], Awaitable[None]]) -> None:
    """Read until it ends or is stopped; a scope catches its own, and any other stop comes as what belongs to it."""
    try:
        with reader.scope:
            async with _timeout(reader) if reader.stop in ASYNCIO_ONLY else contextlib.nullcontext():
                await read(reader.stream)
        reader.outcome = "stopped" if reader.scope.cancelled_caught else "ended"
    except (BadRequestError, OverloadedError):  # the second where the budget of retries is spent
        reader.outcome = "ended"
    except StreamInterruptedError:
        if reader.stop not in CLOSING:
            raise
        reader.outcome = "stopped"
    except asyncio.CancelledError:  # by_timeout gives it to a task that never runs, and so not here
        if reader.stop not in (by_task, by_task_twice):
            raise
        reader.outcome = "stopped"
    except TimeoutError as error:
        if reader.stop is not by_timeout or type(error) is not TimeoutError:  # our own errors are some, too
            raise
        reader.outcome = "stopped"


async def stop_after(passes: int, reader: Reader) -> bool:
    """Stop the reader after so many passes of the loop, and return whether it had already ended by itself."""
    for _ in range(passes):
        await anyio.lowlevel.checkpoint()
    ended = bool(reader.outcome)
    await reader.stop(reader)
    return ended


async def read_and_stop(passes: int, reader: Reader, read: Callable[[AsyncStream], Awaitable[None]]) -> bool:
    """Read in a task of its own, stop it after so many passes of the loop, and return whether it had already ended."""
    if reader.stop in ASYNCIO_ONLY:
        reader.task = asyncio.create_task(run_reader(reader, read))
        ended = await stop_after(passes, reader)
        await asyncio.wait([reader.task])
        if not reader.task.cancelled():
            reader.task.result()
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(run_reader, reader, read)
            ended = await stop_after(passes, reader)
    # A task that is cancelled before its first step never runs.
    assert reader.outcome or (reader.task is not None and reader.timeout is None)
    return ended


async def stopped_after(
    passes: int, client: AsyncClient, life: Life, stop: Callable[[Reader], Awaitable[None]]
) -> bool:
    """Run one life, stop it after so many passes of the loop, and return whether it had already ended by itself."""
    chat = Conversation(messages=HISTORY)
    reader = Reader(client.stream(f"{life.kind} {stop.__name__} {passes}", conversation=chat), stop)
    with anyio.fail_after(30):
        ended = await read_and_stop(passes, reader, life.read)
    assert not chat.busy
    turn = [Message("user", chat.messages[2].content), Message("assistant", TEXT)] if len(chat.messages) > 2 else []
    assert list(chat.messages) == [*HISTORY, *turn]
    assert not turn or life.kind in ("answered", "retried")
    return ended


@contextlib.asynccontextmanager
async def _timeout(reader: Reader) -> AsyncIterator[None]:
    async with asyncio.timeout(None) as reader.timeout:
        yield


def open_things() -> tuple[int, int]:
    return len(hygiene.tasks()), len(hygiene.open_descriptors())


@LIBRARY
@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES.keys())
@pytest.mark.parametrize(("backend", "stop"), WAYS, ids=lambda it: it if isinstance(it, str) else it.__name__)
def test_a_stream_that_is_stopped_at_every_pass_of_the_loop(
    backend: str, stop: Callable[[Reader], Awaitable[None]], life: Life, library: str, cases: Cases
) -> None:
    async def main() -> None:
        async with client_and_server(library, secure=life.secure, tunnel=life.tunnel) as (client, server):
            assert (await client.ask(life.before)).text == TEXT
            await anyio.wait_all_tasks_blocked()
            before = open_things()
            ended_before_it_was_stopped = 0
            for passes in range(0, 400, cases.choose(7, 1)):
                cases.count()
                ended = await stopped_after(passes, client, life, stop)
                with anyio.fail_after(10):
                    assert (await client.ask(life.before)).text == TEXT, passes
                await anyio.wait_all_tasks_blocked()
                assert server.connections == (life.before == "next"), passes
                assert open_things() == before, passes
                ended_before_it_was_stopped += ended
                if ended_before_it_was_stopped == 3 or (passes > 80 and life.kind in ("endless", "silent")):
                    return
            raise AssertionError("the life of the stream is longer than the passes that were tried")

    hygiene.run(main, backend=backend)


@LIBRARY
@BACKENDS
def test_cancelled_requests_do_not_wear_a_pool_of_ten_out(backend: str, library: str, cases: Cases) -> None:
    """100 at a time, each at a random place of its life, in a random way of its runtime."""
    dice = random.Random(20261123)
    stops = [by_scope, by_deadline, *([by_task, by_timeout] if backend == "asyncio" else [])]
    outcomes: Counter[str] = Counter()

    async def one(client: AsyncClient, kind: str, passes: int, stop: Callable[[Reader], Awaitable[None]]) -> None:
        chat = Conversation()
        reader = Reader(client.stream(f"{kind} {dice.random()}", conversation=chat), stop)
        await read_and_stop(passes, reader, read_all)
        assert not chat.busy
        assert len(chat.messages) in (0, 2)
        outcomes[reader.outcome] += 1

    async def main() -> None:
        async with client_and_server(library, connections=10) as (client, server):
            await ask_ten(client)
            before = open_things()
            for _ in range(cases.choose(3, 200)):
                cases.count(100)
                async with anyio.create_task_group() as group:
                    for _ in range(100):
                        kind = dice.choice(["answered", "answered", "refused", "retried", "endless", "silent"])
                        group.start_soon(one, client, kind, dice.randrange(120), dice.choice(stops))
                await ask_ten(client)
                assert server.connections == 10
                assert open_things() == before

    hygiene.run(main, backend=backend)
    assert outcomes["stopped"] > outcomes.total() / 2


async def ask_ten(client: AsyncClient) -> None:
    """Have ten answers open at the same time, each on a connection: one that is lost would be waited for in vain."""
    with anyio.fail_after(30):
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(client.stream("next")) for _ in range(10)]
            assert [(await stream.drain()).text for stream in streams] == [TEXT] * 10
    await anyio.wait_all_tasks_blocked()
