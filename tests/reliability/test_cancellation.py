"""A stream is stopped at every pass of the event loop that its life takes, in every way there is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
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
from loop_server import LoopServer, loop_server, take_turns
from own import own
from scripted_server import CHUNKED, Do, Step, answer, chunk, head, whole
from tls import client_context, server_context

from aichatfree_sdk import (
    AIChatFreeError,
    AsyncClient,
    BadRequestError,
    Conversation,
    Message,
    RetryPolicy,
    StreamInterruptedError,
)
from aichatfree_sdk.async_client import AsyncStream
from aichatfree_sdk.transports.httpx import AsyncHttpxTransport

ROW = "cancellation"
DELTAS = ["Once ", "upon ", "a 🙂"]
TEXT = "".join(DELTAS)
HISTORY = [Message("user", "a"), Message("assistant", "b")]
OLDEST_FIRST = "trio, oldest first"
CLOSING_PASSES = 13  # what a closing takes at most, on asyncio
RETRY = RetryPolicy(base_delay=0, max_retry_after=3600)
LIBRARIES = {"httpx": httpx, "httpx2": httpx2}
BACKENDS = pytest.mark.parametrize("backend", hygiene.BACKENDS)
LIBRARY = pytest.mark.parametrize("library", ["own", *(pytest.param(it, marks=pytest.mark.full) for it in LIBRARIES)])


# What the server answers, by the first word of the question; and to the same question for the first time.
ANSWERS: dict[str, list[Step]] = {
    "refused": whole(400, '{"error": {"message": "no"}}'),
    "busy": whole(503, "", "Retry-After: 3600"),
    "endless": [CHUNKED, *map(chunk, DELTAS), Do.HOLD],
    "silent": [Do.HOLD],
    "last": [*whole(200, TEXT, "Connection: close"), Do.CLOSE],
    "dropped": [*answer(*DELTAS), Do.CLOSE],
    "unmeasured": [head(200), *(delta.encode() for delta in DELTAS), Do.CLOSE],
    "password": whole(200, '{"code": 0}'),
}
FIRST: dict[str, list[Step]] = {"retried": whole(503), "stale": [Do.CLOSE]}


def script(question: str, before: int) -> Iterable[Step]:
    kind = question.split(maxsplit=1)[0]
    return (FIRST if kind in FIRST and not before else ANSWERS).get(kind, answer(*DELTAS))


@define
class Reader:
    """A task that reads a stream, and what can stop it from outside.

    Attributes:
        stop: stops it.
        passes: how many passes of the loop it is to live.
        found: how it had ended, or what its stream said of itself, when it was to be stopped.
        outcome: how it ended.
    """

    client: AsyncClient
    stream: AsyncStream
    stop: Stop
    passes: int
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    task: asyncio.Task[None] | None = None
    timeout: asyncio.Timeout | None = None
    found: str = ""
    outcome: str = ""


Read = Callable[[Reader], Awaitable[str]]
Stop = Callable[[Reader], Awaitable[None]]


def leave_after(deltas: int) -> Read:
    async def leave(reader: Reader) -> str:
        read: list[str] = []
        async with reader.stream:
            async for delta in reader.stream:
                read.append(delta)
                if len(read) == deltas:
                    break
        return "".join(read)

    return leave


read_all = leave_after(0)  # of which there is none


async def read_bare(reader: Reader) -> str:
    return "".join([delta async for delta in reader.stream])


async def check_password(reader: Reader) -> str:
    assert await reader.client.check_password()
    return ""


@frozen
class Life:
    """What the server does, what the reader does with it, and on which connection.

    Attributes:
        kind: the first word of the question.
        read: reads the stream, and returns what it read.
        comes_to: what it has read when it ended by itself, or the error that it ended with.
        commits: whether its turn is then part of the conversation.
        waits: of one that never ends by itself, what its stream says of itself at the end.
        asked: how often the server has then had its question.
        before: the question before it; "last" leaves no connection behind, and "dropped" a dead one.
        beside: the question whose answer takes the only connection meanwhile.
        secure: whether it is under TLS.
        tunnel: whether that is behind a proxy.
    """

    kind: str
    read: Read
    comes_to: str | type[AIChatFreeError] = TEXT
    commits: bool = True
    waits: str = ""
    asked: int = 1
    before: str = "next"
    beside: str = ""
    secure: bool = False
    tunnel: bool = False


def left(kind: str, deltas: int) -> Life:
    return Life(kind, leave_after(deltas), "".join(DELTAS[:deltas]), commits=False)


def waiting(kind: str, waits: str, asked: int = 1, **others: Any) -> Life:
    return Life(kind, read_all, commits=False, waits=waits, asked=asked, **others)


LIVES = {
    "read to the end": Life("answered", read_all),
    "read without a with block": Life("answered", read_bare),
    "left after the first delta": left("answered", 1),
    "left after the last delta": left("answered", 3),
    "left in the middle of an endless answer": left("endless", 2),
    "ended by closing": Life("unmeasured", read_all),
    "tried again": Life("retried", read_all),
    "refused": Life("refused", read_all, BadRequestError, commits=False),
    "waiting for more": waiting("endless", f"reading, {len(TEXT)} characters"),
    "waiting for the head": waiting("silent", "sending, 0 characters"),
    "waiting to try again": waiting("busy", "starting, 0 characters"),
    "waiting for a connection": waiting("answered", "sending, 0 characters", asked=0, beside="endless"),
    "on a connection that was waited for": Life("answered", read_all, beside="answered"),
    "on a connection that is dead": Life("answered", read_all, before="dropped"),
    "on a connection that dies": Life("stale", read_all),
    "on a connection of its own": Life("answered", read_all, before="last"),
    "on a connection of its own under TLS": Life("answered", read_all, before="last", secure=True),
    "on a connection of its own behind a proxy": Life("answered", read_all, before="last", secure=True, tunnel=True),
    "checking the password": Life("password", check_password, "", commits=False),
}


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


async def by_closing_that_is_cancelled(reader: Reader) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(reader.stream.aclose)
        await let_pass(1 + reader.passes % CLOSING_PASSES)
        group.cancel_scope.cancel()


async def by_closing_whose_task_is_cancelled(reader: Reader) -> None:
    task = asyncio.create_task(reader.stream.aclose())
    await let_pass(1 + reader.passes % CLOSING_PASSES)
    task.cancel()
    await end_of(task)


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


async def let_pass(passes: int) -> None:
    for _ in range(passes):
        await anyio.lowlevel.checkpoint()


async def end_of(task: asyncio.Task[None]) -> None:
    """Wait for the end of a task, which may be cancelled but not fail."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


OF_A_TASK = [by_task, by_task_twice, by_timeout]
CLOSING_ANYWHERE = [by_closing, by_closing_twice, by_closing_and_scope, by_closing_that_is_cancelled]
CLOSING = [*CLOSING_ANYWHERE, by_closing_whose_task_is_cancelled]
RUNS: list[tuple[str, Stop]] = [
    *itertools.product(["asyncio", "trio", OLDEST_FIRST], [by_scope, by_deadline, *CLOSING_ANYWHERE]),
    *itertools.product(["asyncio"], [*OF_A_TASK, by_closing_whose_task_is_cancelled]),
]
SWEEPS = [
    (backend, stop, name)
    for (backend, stop), (name, life) in itertools.product(RUNS, LIVES.items())
    if life.kind != "password" or stop not in CLOSING  # no stream of it is the caller's to close
]
# The quick part is every third: each way with a third of the lives, and each life with a third of the ways.
QUICK = SWEEPS[::3]


@contextlib.asynccontextmanager
async def transport_and_server(
    library: str, connections: int = 1, *, secure: bool = False, tunnel: bool = False
) -> AsyncGenerator[tuple[AsyncHttpxTransport, LoopServer]]:
    module: Any = LIBRARIES.get(library, httpx)
    limits = module.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with (
        loop_server(script, server_context() if secure else None, tunnel=tunnel) as server,
        module.AsyncClient(verify=client_context(), trust_env=False, limits=limits, proxy=server.proxy) as http,
    ):
        given = AsyncHttpxTransport(http, max_connections=connections)
        yield own(http, connections) if library == "own" else given, server


async def run_reader(reader: Reader, life: Life) -> None:
    """Read until it ends or is stopped; a scope catches its own, and any other stop comes as what belongs to it."""
    try:
        with reader.scope:
            async with _timeout(reader) if reader.stop in OF_A_TASK else contextlib.nullcontext():
                text = await life.read(reader)
                closed_before = reader.stop in CLOSING and "not begun" in reader.found and not text
                assert closed_before or (text == life.comes_to and not life.waits)
                reader.outcome = "stopped" if closed_before else "ended"
        if reader.scope.cancelled_caught:
            reader.outcome = "stopped"
    except AIChatFreeError as error:
        interrupted = reader.stop in CLOSING and type(error) is StreamInterruptedError
        if not interrupted and type(error) is not life.comes_to:
            raise
        reader.outcome = "stopped" if interrupted else "ended"
    except asyncio.CancelledError:  # by_timeout gives it to a task that never runs, and so not here
        if reader.stop not in (by_task, by_task_twice):
            raise
        reader.outcome = "stopped"
    except TimeoutError:
        if reader.stop is not by_timeout:
            raise
        reader.outcome = "stopped"


async def let_live(reader: Reader) -> None:
    await let_pass(reader.passes)
    reader.found = reader.outcome or repr(reader.stream)
    await reader.stop(reader)


async def read_and_stop(reader: Reader, life: Life) -> None:
    if reader.stop in OF_A_TASK:
        reader.task = asyncio.create_task(run_reader(reader, life))
        await let_live(reader)
        await end_of(reader.task)
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(run_reader, reader, life)
            await let_live(reader)
    # A task that is cancelled before its first step never runs.
    assert reader.outcome or (reader.task is not None and reader.timeout is None)


async def stopped_after(passes: int, client: AsyncClient, life: Life, stop: Stop, name: object) -> Reader:
    """Run one life, stop it after so many passes of the loop, and return what became of it."""
    chat = Conversation(messages=HISTORY)
    question = f"{life.kind} {name}"
    reader = Reader(client, client.stream(question, conversation=chat), stop, passes)
    with anyio.fail_after(30):
        await read_and_stop(reader, life)
    assert not chat.busy
    assert TEXT.startswith(reader.stream.text)
    whole_turn = [*HISTORY, Message("user", question), Message("assistant", TEXT)]
    if reader.outcome == "ended":
        assert list(chat.messages) == (whole_turn if life.commits else HISTORY)
    else:
        assert list(chat.messages) == HISTORY or (life.commits and list(chat.messages) == whole_turn)
    return reader


@contextlib.asynccontextmanager
async def _timeout(reader: Reader) -> AsyncIterator[None]:
    async with asyncio.timeout(None) as reader.timeout:
        yield


@contextlib.asynccontextmanager
async def beside(client: AsyncClient, question: str) -> AsyncIterator[None]:
    """Have an answer read while the block runs, and longer than that only if the block is not left."""
    async with client.stream(question) as stream, anyio.create_task_group() as group:
        group.start_soon(stream.drain)
        yield
        group.cancel_scope.cancel()


def open_things() -> tuple[int, int, frozenset[Any]]:
    return len(hygiene.tasks()), len(hygiene.open_descriptors()), frozenset(hygiene.running_threads())


@LIBRARY
@pytest.mark.parametrize(
    ("backend", "stop", "name"),
    [pytest.param(*it, marks=[] if it in QUICK else pytest.mark.full) for it in SWEEPS],
    ids=lambda it: it if isinstance(it, str) else it.__name__,
)
def test_a_stream_that_is_stopped_at_every_pass_of_the_loop(
    backend: str, stop: Stop, name: str, library: str, cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = LIVES[name]

    async def main() -> None:
        async with transport_and_server(library, secure=life.secure, tunnel=life.tunnel) as (transport, server):
            client = AsyncClient(server.url, transport=transport, retry=RETRY)
            assert (await client.ask(life.before)).text == TEXT
            await anyio.wait_all_tasks_blocked()
            before = open_things()
            arrived = 0
            for passes in range(0, 400, cases.choose(7, 1)):
                cases.count()
                async with beside(client, life.beside) if life.beside else contextlib.nullcontext():
                    reader = await stopped_after(passes, client, life, stop, passes)
                with anyio.fail_after(10):
                    assert (await client.ask(life.before)).text == TEXT, passes
                await anyio.wait_all_tasks_blocked()
                assert server.connections == (life.before == "next"), passes
                assert open_things() == before, passes
                asked = server.asked[f"{life.kind} {passes}"]
                arrived += life.waits in reader.found and asked == life.asked if life.waits else reader.found == "ended"
                if arrived == (cases.choose(3, 20) if life.waits else 3):
                    return
            raise AssertionError("the life of the stream is longer than the passes that were tried")

    take_turns(monkeypatch, oldest_first=backend == OLDEST_FIRST)
    hygiene.run(main, backend=backend.partition(",")[0])


@LIBRARY
@BACKENDS
def test_cancelled_requests_do_not_wear_a_pool_of_ten_out(backend: str, library: str, cases: Cases) -> None:
    """100 at a time, each at a random place of its life, in a random way of its runtime."""
    dice = random.Random(20261123)
    stops: list[Stop] = [by_scope, by_deadline, *([by_task, by_timeout] if backend == "asyncio" else [])]
    names = ["read to the end", "refused", "tried again", "waiting for more", "waiting for the head"]
    outcomes: Counter[str] = Counter()

    async def one(client: AsyncClient, life: Life, passes: int, stop: Stop) -> None:
        outcomes[(await stopped_after(passes, client, life, stop, dice.random())).outcome] += 1

    async def main() -> None:
        async with transport_and_server(library, connections=10) as (transport, server):
            await ask_ten(AsyncClient(server.url, transport=transport))
            before = open_things()
            while (stopped := outcomes["stopped"]) < cases.choose(200, 20_000):
                client = AsyncClient(server.url, transport=transport, retry=RETRY)  # with a full budget of retries
                async with anyio.create_task_group() as group:
                    for _ in range(100):
                        life = LIVES[dice.choice(names)]
                        group.start_soon(one, client, life, dice.randrange(120), dice.choice(stops))
                await ask_ten(client)
                assert server.connections == 10
                assert open_things() == before
                cases.count(outcomes["stopped"] - stopped)

    hygiene.run(main, backend=backend)


async def ask_ten(client: AsyncClient) -> None:
    """Have ten answers open at the same time, each on a connection: one that is lost would be waited for in vain."""
    with anyio.fail_after(30):
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(client.stream("next")) for _ in range(10)]
            assert [(await stream.drain()).text for stream in streams] == [TEXT] * 10
    await anyio.wait_all_tasks_blocked()
