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
from collections.abc import Iterable, Iterator

import pytest
from answering_server import Address, running, text_of
from attrs import define
from cases import Cases
from interrupting import Interruption

import aichatfree_sdk as sdk
from aichatfree_sdk import Client, Conversation, Message, RetryPolicy, Timeout

ROW = "torture"
HISTORY = (Message("user", "before"), Message("assistant", "yes"))
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


def struck_at(step: int, exchange: Exchange) -> bool:
    """Live one exchange with a Ctrl-C at that step, and return whether there was such a step."""
    interruption = Interruption(__file__, "live", step, signal.SIGINT)
    with warnings.catch_warnings():
        # A socket that httpcore was about to use or close is closed by the garbage collector, which tells.
        warnings.simplefilter("ignore", ResourceWarning)
        interruption.begin()
        try:
            exchange.live()
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(None)
            gc.collect()  # the frames that the profiler saw keep each other, and what they had in their hands
    assert not interruption.where  # else it was swallowed
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_a_ctrl_c_at_every_step(kind: str, server: Address, cases: Cases) -> None:
    steps = itertools.count(1, cases.choose(97, 1))
    while not all_struck(kind, server.url, itertools.islice(steps, 50), cases):
        pass
    assert next(steps) > 300


def all_struck(kind: str, url: str, steps: Iterable[int], cases: Cases) -> bool:
    """Strike one client at these steps, fewer than it has retries, and return whether they went beyond the last."""
    clocks = Timeout(connect=5, first_text=20)  # a lost connection shows as a full pool
    with Client(url, max_connections=1, retry=RetryPolicy(base_delay=0), timeout=clocks) as client:
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
        cases.count()
        clocks, once = Timeout(connect=0.02 if full else 5, first_text=20), RetryPolicy(max_retries=0)
        with Client(server.url, max_connections=1, retry=once, timeout=clocks) as client:
            where = client if full else client.with_options(base_url="http://127.0.0.1:1")
            exchange = Exchange(where, "refused", Conversation(messages=HISTORY))
            with client.stream("held") if full else contextlib.nullcontext():
                struck = struck_at(step, exchange)
            assert (exchange.chat.messages, exchange.chat.busy) == (HISTORY, False)
            assert client.ask("good after").text == text_of("good after")
        if not struck:
            assert step > 100
            return


@pytest.mark.parametrize("function", ["_close_lost", "__del__"])
def test_a_ctrl_c_at_every_step_of_giving_back_what_a_dropped_stream_has(
    function: str, server: Address, cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in itertools.count(1, cases.choose(3, 1)):
        cases.count()
        clocks, once = Timeout(connect=5, first_text=20), RetryPolicy(max_retries=0)
        with Client(server.url, max_connections=1, retry=once, timeout=clocks) as client:
            stream = client.stream("held")
            assert next(stream)
            interruption = Interruption("transports/httpx.py", function, step, signal.SIGINT)
            with warnings.catch_warnings(), monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
                warnings.simplefilter("ignore", ResourceWarning)  # dropped unclosed
                patch.setattr(sys, "unraisablehook", lambda _: None)  # what strikes in a finalizer, Python shows
                interruption.begin()
                try:
                    del stream
                    gc.collect()
                    client.ask("good")
                finally:
                    sys.setprofile(None)
            gc.collect()  # as in struck_at
            assert client.ask("good after").text == text_of("good after"), interruption.where
        if not interruption.where:
            assert step > 15
            return
