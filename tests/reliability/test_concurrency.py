"""Many answers at once on one client: each arrives where it was asked for, every delta of it, and nowhere else.

Each question is a nonce that the server repeats in every delta; each is asked in a conversation of its own and, but for
one test, with a password of its own.
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, TypeVar

import anyio
import hygiene
import pytest
from answering_server import running, text_of
from attrs import define, field, frozen
from cases import Cases
from runtimes import LIBRARIES
from tls import client_context

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, Client, Conversation, Timeout
from aichatfree_sdk.core.decoder import FAILURE_TRAILER
from aichatfree_sdk.server import ChatMessage
from aichatfree_sdk.testing import LocalServer

ROW = "concurrency"
T = TypeVar("T", Client, AsyncClient)
PATIENT = Timeout(connect=60, first_text=60, idle=60)  # nothing here waits for a clock, but there is a lot to do
every_runtime = pytest.mark.parametrize("runtime", ["sync", "asyncio", "trio"])


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    """Both ends of each connection are this process's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@define
class Crowd:
    """A responder that says the question in every delta, but after the first delta waits for the others.

    Attributes:
        size: how many answers must have begun before any goes on.
        present: how many are being given.
        peak: how many were, at once.
    """

    size: int
    present: int = 0
    peak: int = 0
    complete: asyncio.Event = field(factory=asyncio.Event)

    async def answer(self, messages: tuple[ChatMessage, ...]) -> AsyncGenerator[str, None]:
        self.present += 1
        self.peak = max(self.peak, self.present)
        if self.peak >= self.size:
            self.complete.set()
        try:
            for delta in deltas_of(messages[-1].text):
                yield delta
                await self.complete.wait()
        finally:
            self.present -= 1


def deltas_of(question: str) -> list[str]:
    """Return the answer to ``question``; some deltas look like the failure trailer, and so are held back a while."""
    return [FAILURE_TRAILER if number % 3 == 1 else f"{question}:{number} " for number in range(12)]


def answer_to(question: str) -> str:
    return "".join(deltas_of(question))


@frozen
class Visit:
    """One question and how far its answer is read.

    Attributes:
        nonce: the question.
        leaves: how its reader goes: "at the end", or earlier by "break", "cancel" or "close" (by somebody else).
        after: after how many characters that is.
    """

    nonce: str
    leaves: str = "at the end"
    after: int = 0

    @property
    def password(self) -> str:
        return self.nonce[::-1]

    def check(self, text: str, chat: Conversation) -> None:
        """Check what came of it, in the text and in the conversation."""
        answer = answer_to(self.nonce)
        history = [message.content for message in chat.messages]
        assert answer.startswith(text)
        assert not chat.busy
        if self.leaves == "at the end":
            assert (text, history) == (answer, [self.nonce, answer])
        else:
            assert history in ([], [self.nonce, answer])


def visits(count: int, ways: tuple[str, ...] = ("at the end",)) -> list[Visit]:
    """Return ``count`` visits, each of another length, which leave at random places."""
    rolled = random.Random(count)
    nonces = [f"{rolled.getrandbits(64):x}-{number}" for number in range(count)]
    return [Visit(nonce, rolled.choice(ways), rolled.randrange(len(answer_to(nonce)))) for nonce in nonces]


async def visit(client: AsyncClient, visit: Visit) -> None:
    chat, text = Conversation(), ""
    async with anyio.create_task_group() as group:
        try:
            async with client.stream(visit.nonce, conversation=chat) as stream:
                async for delta in stream:
                    assert answer_to(visit.nonce)[len(text) :].startswith(delta)
                    text += delta
                    if len(text) > visit.after:
                        if visit.leaves == "break":
                            break
                        if visit.leaves == "cancel":
                            group.cancel_scope.cancel()
                        elif visit.leaves == "close":
                            group.start_soon(stream.aclose)
        except sdk.StreamInterruptedError:
            assert visit.leaves == "close"
    visit.check(text, chat)


def visit_blocking(client: Client, visit: Visit) -> None:
    chat, text = Conversation(), ""
    closers: list[threading.Thread] = []
    try:
        with client.stream(visit.nonce, conversation=chat) as stream:
            for delta in stream:
                assert answer_to(visit.nonce)[len(text) :].startswith(delta)
                text += delta
                if len(text) > visit.after:
                    if visit.leaves == "break":
                        break
                    if visit.leaves == "close":
                        closers.append(threading.Thread(target=stream.close))
                        closers[-1].start()
    except sdk.StreamInterruptedError:
        assert visit.leaves == "close"
    for closer in closers:
        closer.join(60)
        assert not closer.is_alive()
    visit.check(text, chat)


def visit_all(
    runtime: str, max_connections: int, *rounds: tuple[LocalServer, list[Visit]], one_client: bool = False
) -> None:
    """Make the visits of a round at once; the rounds share one pool.

    The visits share one client too, or have, for a password of its own each, a client on that pool each.
    """
    options = {"max_connections": max_connections, "timeout": PATIENT, "base_url": rounds[0][0].url}

    def client_of(client: T, server: LocalServer, visit: Visit) -> T:
        return client if one_client else client.with_options(base_url=server.url, password=visit.password)

    async def main() -> None:
        with anyio.fail_after(300):
            async with AsyncClient(**options) as client:
                for server, crowd in rounds:
                    async with anyio.create_task_group() as group:
                        for one in crowd:
                            group.start_soon(visit, client_of(client, server, one), one)

    if runtime == "sync":
        with Client(**options) as client:
            for server, crowd in rounds:
                owns = [client_of(client, server, one) for one in crowd]
                with ThreadPoolExecutor(len(crowd)) as threads:
                    assert list(threads.map(visit_blocking, owns, crowd)) == [None] * len(crowd)
    else:
        hygiene.run(main, backend=runtime)
    for server, crowd in rounds:
        came = [(request["messages"][-1]["parts"][0]["text"], request["pass"]) for request in server.requests]
        assert sorted(came) == sorted((one.nonce, None if one_client else one.password) for one in crowd)


@every_runtime
def test_every_answer_at_the_same_time(runtime: str, cases: Cases) -> None:
    count = cases.choose(30, 200) if runtime == "sync" else cases.choose(60, 1_000)
    crowd, again = Crowd(count), Crowd(count)
    with (
        cases.case(count),
        LocalServer(responder=crowd.answer) as server,
        LocalServer(responder=again.answer) as other,
    ):
        visit_all(runtime, count, (server, visits(count)), (other, visits(count)))
    cases.count(count - 1)
    assert crowd.peak == again.peak == count


@every_runtime
def test_every_answer_at_the_same_time_on_one_client(runtime: str, cases: Cases) -> None:
    count = cases.choose(30, 200) if runtime == "sync" else cases.choose(60, 1_000)
    crowd = Crowd(count)
    with cases.case(count), LocalServer(responder=crowd.answer) as server:
        visit_all(runtime, count, (server, visits(count)), one_client=True)
    cases.count(count - 1)
    assert crowd.peak == count


@every_runtime
def test_more_answers_than_connections(runtime: str, cases: Cases) -> None:
    count = cases.choose(30, 200) if runtime == "sync" else cases.choose(60, 1_000)
    crowd, again = Crowd(10), Crowd(10)
    with (
        cases.case(count),
        LocalServer(responder=crowd.answer) as server,
        LocalServer(responder=again.answer) as other,
    ):
        visit_all(runtime, 10, (server, visits(count)), (other, visits(10)))
    cases.count(count - 1)
    assert crowd.peak == again.peak == 10


@every_runtime
def test_readers_that_leave_early_take_no_connection_with_them(runtime: str, cases: Cases) -> None:
    """Afterwards as many streams as there are connections are open at the same time again."""
    count = cases.choose(30, 200) if runtime == "sync" else cases.choose(60, 1_000)
    ways = ("at the end", "break", "close", *(["cancel"] if runtime != "sync" else []))
    crowd = Crowd(10)
    with (
        cases.case(count),
        LocalServer(responder=Crowd(1).answer) as left,
        LocalServer(responder=crowd.answer) as filled,
    ):
        visit_all(runtime, 10, (left, visits(count, ways)), (filled, visits(10)))
    cases.count(count - 1)
    assert crowd.peak == 10


@pytest.mark.full
@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES.keys())
def test_no_thread_closes_the_connection_that_another_has_taken(library: ModuleType, cases: Cases) -> None:
    """httpcore takes an idle connection that can be read for dead, and another thread's answer can be what is read."""
    limits = library.Limits(max_connections=10, max_keepalive_connections=10)
    with (
        LocalServer() as server,
        library.Client(trust_env=False, limits=limits) as http,
        Client(server.url, http_client=http, timeout=PATIENT) as client,
        ThreadPoolExecutor(60) as threads,
    ):
        replies = list(threads.map(client.ask, ["many words " * 20] * 3000))
    cases.count(3000)
    assert sum(reply.retries for reply in replies) == 0


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES.keys())
def test_streams_that_the_garbage_collector_finds_while_the_pool_is_at_work(library: ModuleType, cases: Cases) -> None:
    """It runs in the middle of anything, of what the pool does under its lock, too."""
    count = cases.choose(100, 500)

    def drop_and_ask(url: str) -> None:
        gc.set_threshold(10)
        with library.Client(verify=client_context(), trust_env=False) as http, Client(url, http_client=http) as client:
            for number in range(count):
                dropped: Any = client.stream(f"held {number}")
                next(dropped)
                dropped.itself = dropped  # so that it takes a collection to end it
                del dropped
                if number % 50 == 0:
                    gc.collect()  # until then each keeps one of a hundred connections
                assert client.ask(f"good {number}").text == text_of(f"good {number}")
            gc.collect()

    with running() as server, cases.case(count), pytest.warns(ResourceWarning, match="dropped unclosed"):
        threshold = gc.get_threshold()
        thread = threading.Thread(target=drop_and_ask, args=[server.url], daemon=True)
        thread.start()
        thread.join(cases.choose(30, 240))
        gc.set_threshold(*threshold)
        gc.collect()  # the thread's own does nothing where another was under way
        assert not thread.is_alive(), "the client waits for itself"
    cases.count(count - 1)
