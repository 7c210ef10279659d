"""What comes in the very moment in which a clock runs out, or a tick before or after it, through all of a client but
the sockets: its streams, its transport, httpx and httpcore, on a network that moves the clock itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import hygiene
import pytest
from attrs import evolve, frozen
from cases import Cases
from fault_case import check_chat
from faulty_network import core_of, make_http_client
from own import own
from runtimes import HTTPX_RUNTIMES, Outcome, Runtime
from scripted_server import CHUNKED, END, chunk
from timed_network import AsyncTimedNetwork, TimedNetwork
from tls import client_context
from virtual import AROUND, NEVER, URL, Clock

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncStream, Conversation, Message, RetryBudget, Settings, Stream, Timeout
from aichatfree_sdk.core.exchange import Exchange
from aichatfree_sdk.core.request import AnswerCall
from aichatfree_sdk.transports.httpx import AsyncHttpxTransport, HttpxTransport
from aichatfree_sdk.work import AnswerWork

ROW = "limits"
RAN_OUT = {"first_text": sdk.FirstTextTimeoutError, "idle": sdk.IdleTimeoutError, "total": sdk.TotalTimeoutError}


@frozen
class Race:
    """An answer that comes in time, if a tick early, or does not, if a tick late.

    Attributes:
        clock: which.
        arrivals: what comes, and how much of the clock's time the wait for it takes; the last that takes any is early
            or late.
        text: the whole answer.
        at: what comes of it if it is neither; None where that is in time.
        late: what comes of it if it is late.
    """

    clock: str
    arrivals: list[tuple[float, bytes]]
    text: str
    at: str | None
    late: str

    def run(self, limit: float, off: float) -> list[tuple[float, bytes]]:
        """Return what comes and after how many seconds."""
        last = max(turn for turn, (share, _) in enumerate(self.arrivals) if share)
        return [(share * limit + off * (turn == last), data) for turn, (share, data) in enumerate(self.arrivals)]

    def outcome(self, limit: float, off: float) -> tuple[str, type[Exception] | None, float]:
        """Return the text, the error, and how many seconds it took."""
        took = sum(share for share, _ in self.arrivals) * limit + min(off, 0)
        if off < 0 or (off == 0 and self.at is None):
            return self.text, None, took
        return self.late if off or self.at is None else self.at, RAN_OUT[self.clock], took


A, B, C = map(chunk, "abc")
HALF, OTHER_HALF = map(chunk, (b"\xd0", b"\xb6"))
RACES = {
    "the first text": Race("first_text", [(0.5, CHUNKED), (0.5, A), (0, END)], "a", at=None, late=""),
    "the head": Race("first_text", [(1, CHUNKED), (0, A + END)], "a", at="", late=""),
    "half a character": Race("first_text", [(0, CHUNKED), (1, HALF), (0, OTHER_HALF + END)], "ж", at="", late=""),
    "more text": Race("idle", [(0, CHUNKED + A), (1, B), (1, C), (0, END)], "abc", at=None, late="ab"),
    "the other half": Race("idle", [(0, CHUNKED + A), (1, HALF), (1, OTHER_HALF + END)], "aж", at=None, late="a"),
    "the end": Race("idle", [(0, CHUNKED + A), (1, END)], "a", at=None, late="a"),
    # What has come by the end of the call is handed on, and no more is read.
    "text in a call": Race("total", [(0, CHUNKED + A), (0.5, B), (0.5, C), (0, END)], "abc", at="abc", late="ab"),
    "all text of a call": Race("total", [(1, CHUNKED + A + END)], "a", at="a", late=""),
    "the end of a call": Race("total", [(0, CHUNKED + A), (1, END)], "a", at=None, late="a"),
}


class OnClock(AnswerWork):
    """A turn of a conversation, with an exchange whose clock is moved by hand."""

    def __init__(self, clock: Clock, timeout: Timeout, conversation: Conversation) -> None:
        settings, question = Settings(base_url=URL, timeout=timeout), (Message("user", "q"),)
        super().__init__(settings, RetryBudget(), question, conversation.prepare(question), ())
        self.exchange = Exchange(AnswerCall(settings, question), settings, RetryBudget(), clock)

    def begin(self) -> Exchange:
        super().begin()
        return self.exchange


def read_all(runtime: Runtime, network: TimedNetwork, works: Iterable[OnClock]) -> list[Outcome]:
    http = make_http_client(runtime.library, runtime.name, client_context(), network)
    if runtime.name == "sync":
        with http:
            transport = own(http, 1) if runtime.own else HttpxTransport(http)
            return [runtime.read(Stream(None, transport, work)) for work in works]

    async def main() -> list[Outcome]:
        async with http:
            transport = own(http, 1) if runtime.own else AsyncHttpxTransport(http, max_connections=1)
            return [await runtime.aread(AsyncStream(None, transport, work)) for work in works]

    return hygiene.run(main, backend=runtime.name)


def check(race: Race, runtime: Runtime, limit: float, off: float) -> None:
    core = core_of(runtime.library)
    network = TimedNetwork(core) if runtime.name == "sync" else AsyncTimedNetwork(core)
    chat = Conversation()
    text, error, took = race.outcome(limit, off)

    def works() -> Iterator[OnClock]:
        network.arrivals = race.run(limit, off)
        yield OnClock(network.clock, evolve(NEVER, **{race.clock: limit}), chat)
        assert network.clock.now - Clock.now == took
        network.arrivals = [(0, CHUNKED + chunk("next") + END)]
        yield OnClock(network.clock, NEVER, Conversation())

    outcome, following = read_all(runtime, network, works())
    assert outcome.text == text
    assert type(outcome.error) is (error or type(None))
    check_chat(outcome, "q", chat)
    assert following.text == "next"


@pytest.mark.parametrize(
    "runtime",
    [pytest.param(it, id=it.id, marks=() if it.own else pytest.mark.full) for it in HTTPX_RUNTIMES],
)
def test_what_comes_when_a_clock_runs_out(runtime: Runtime, cases: Cases) -> None:
    for (name, race), (limit, off) in itertools.product(RACES.items(), cases.choose(AROUND[:3], AROUND)):
        with cases.case(name, limit, off):
            check(race, runtime, limit, off)
