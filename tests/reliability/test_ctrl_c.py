"""A Ctrl-C at any step of an exchange, of our code and of the libraries below it, passes through and harms nothing.

A step is what `interrupting` says. The client is blocking, and has a pool of one connection: asyncio and trio deliver a
Ctrl-C by cancelling, which is the row of cancellation.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import hygiene
import pytest
from answering_server import Address, running, text_of
from attrs import define
from cases import Cases
from interrupting import Interruption

import aichatfree_sdk as sdk
from aichatfree_sdk import Client, Conversation, Message, RetryPolicy, Stream, Timeout

ROW = "torture"
HISTORY = (Message("user", "before"), Message("assistant", "yes"))
# A lost connection shows as a full pool.
ONCE: dict[str, Any] = {
    "max_connections": 1,
    "retry": RetryPolicy(max_retries=0),
    "timeout": Timeout(connect=5, first_text=20),
}
KINDS = ("good", "busy", "dropped", "closed", "refused", "cut", "held")


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    with running() as address:
        yield address


@define
class Exchange:
    """One answer, read as a user would."""

    client: Client
    question: str
    chat: Conversation
    text: str = ""

    def live(self) -> None:
        try:
            with self.client.stream(self.question, conversation=self.chat) as stream:
                for delta in stream:
                    self.text += delta
                    if self.question.startswith("held"):
                        break
        except sdk.AIChatFreeError:
            assert self.question.startswith(("refused", "cut"))


@contextlib.contextmanager
def telling(allowed: Callable[[str], bool]) -> Iterator[None]:
    """Assert that the block gives no warnings but those that are allowed."""
    others: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # Of a warning that is recorded, what it is about would be kept, too.
        warnings.showwarning = lambda it, *_: None if allowed(str(it)) else others.append(str(it))
        yield
        gc.collect()
    assert others == []


def of_a_socket(warning: str) -> bool:
    """One that httpcore was about to use or close when it was struck is closed by the garbage collector."""
    return warning.startswith("unclosed <socket.socket")


def of_a_stream(warning: str) -> bool:
    return warning.startswith("<Stream, reading, ")


def strike(interruption: Interruption, life: Callable[[], object]) -> None:
    """Live with a Ctrl-C, and assert that it is raised, or as in a finalizer, shown by Python, and nothing else is."""
    seen: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda it: seen.append(it.exc_type))
        interruption.begin()
        try:
            life()
        except KeyboardInterrupt:
            seen.append(KeyboardInterrupt)
        finally:
            sys.setprofile(None)
            gc.collect()  # the frames that the profiler saw keep each other, and what they had in their hands
    assert seen == [KeyboardInterrupt] * bool(interruption.where), interruption.where


# Where a with block has not begun yet, or what ends it has not done anything yet: its stream is dropped.
DROPPING = (
    "return of Stream.__enter__ ",
    "call of Stream.__exit__ ",
    "call of Stream.close ",
    "call of Stream._wind_up ",
)


def struck_at(step: int, exchange: Exchange) -> bool:
    """Live one exchange with a Ctrl-C at that step, and return whether there was such a step."""
    it = Interruption(__file__, "live", step, signal.SIGINT)
    with telling(lambda text: of_a_socket(text) or (of_a_stream(text) and it.where.startswith(DROPPING))):
        strike(it, exchange.live)
    return bool(it.where)


@pytest.mark.parametrize("kind", KINDS)
def test_a_ctrl_c_at_every_step(kind: str, server: Address, cases: Cases) -> None:
    steps = itertools.count(1, cases.choose(97, 1))
    while not all_struck(kind, server.url, itertools.islice(steps, 50), cases):
        pass
    assert next(steps) > 300


def all_struck(kind: str, url: str, steps: Iterable[int], cases: Cases) -> bool:
    """Strike one client at these steps, fewer than it has retries, and return whether they went beyond the last."""
    options = {**ONCE, "retry": RetryPolicy(base_delay=0)}
    with hygiene.unharmed(), telling(of_a_socket), Client(url, **options) as client:
        for step in steps:
            exchange = Exchange(client, f"{kind} {step}", Conversation(messages=HISTORY))
            cases.count()
            struck = struck_at(step, exchange)
            assert not exchange.chat.busy, step
            added = [message.content for message in exchange.chat.messages[2:]]
            assert added in ([], [exchange.question, text_of(exchange.question)]), step
            assert text_of(exchange.question).startswith(exchange.text), step
            assert client.ask(f"good after {step}", conversation=exchange.chat).text == text_of(f"good after {step}")
            if not struck:
                return True
    return False


@pytest.mark.parametrize("moment", ["while the pool is full", "where nobody listens"])
def test_a_ctrl_c_at_every_step_without_a_connection(moment: str, server: Address, cases: Cases) -> None:
    full = moment == "while the pool is full"
    for step in itertools.count(1, cases.choose(23, 1)):
        options = {**ONCE, "timeout": Timeout(connect=0.02 if full else 5, first_text=20)}
        with cases.case(step), telling(of_a_socket), Client(server.url, **options) as client:
            where = client if full else client.with_options(base_url="http://127.0.0.1:1")
            exchange = Exchange(where, "refused", Conversation(messages=HISTORY))
            with client.stream("held") if full else contextlib.nullcontext():
                struck = struck_at(step, exchange)
            assert (exchange.chat.messages, exchange.chat.busy) == (HISTORY, False)
            assert client.ask("good after").text == text_of("good after")
        if not struck:
            assert step > 100
            return


@define
class Dropping:
    """A stream that is dropped half-read, and one that comes after it."""

    client: Client
    streams: list[Stream]

    def live(self) -> None:
        self.streams.clear()
        gc.collect()
        self.client.ask("good")


@pytest.mark.parametrize("function", ["_close_lost", "__del__"])
def test_a_ctrl_c_at_every_step_of_giving_back_what_a_dropped_stream_has(
    function: str, server: Address, cases: Cases
) -> None:
    for step in itertools.count(1, cases.choose(3, 1)):
        said = telling(lambda text: of_a_socket(text) or of_a_stream(text))
        with cases.case(step), said, Client(server.url, **ONCE) as client:
            dropping = Dropping(client, [client.stream("held")])
            assert next(dropping.streams[0])
            interruption = Interruption("transports/httpx/blocking.py", function, step, signal.SIGINT)
            strike(interruption, dropping.live)
            assert client.ask("good after").text == text_of("good after"), interruption.where
        if not interruption.where:
            assert step > 15
            return
