"""Whatever is reported to an exchange, in whatever order, it keeps to its table and ends in a reply or our error."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest
from attrs import define
from cases import Cases
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from virtual import URL, Clock, OneCall

import aichatfree_sdk as sdk
from aichatfree_sdk import RetryBudget, RetryPolicy, Settings, Timeout
from aichatfree_sdk.core import actions
from aichatfree_sdk.core.decoder import FAILURE_TRAILER, Cut
from aichatfree_sdk.core.exchange import TRANSITIONS, Event, Exchange, State
from aichatfree_sdk.core.failure import FailureKind, TransportFailure
from aichatfree_sdk.core.response import MAX_ERROR_BYTES, ResponseHead

ROW = "properties"

T = TypeVar("T")
HEADERS: list[tuple[tuple[str, str], ...]] = [
    (),
    (),
    (("Retry-After", "0"),),
    (("Retry-After", "9999"),),
    (("Content-Encoding", "gzip"),),
    (("Content-Length", "5"), ("Date", "Mon, 23 Nov 2026 03:19:41 GMT")),
    (("Location", "//\x00?"),),
]
STATUSES = [200, 200, 200, 200, 204, 301, 400, 401, 429, 500, 503]
CHUNKS = [b"ok", b"", b"I", Cut(b"Inter"), FAILURE_TRAILER.encode(), "ж".encode()[:1], "ж".encode(), b"\xff"]
CHUNKS.append(b"x" * MAX_ERROR_BYTES)


@define
class Choices:
    """What happens, from bytes: hypothesis makes them quickly, and looks for few and small ones that fail."""

    left: Iterator[int]
    body: bytes = b""  # of the attempt that is under way

    def pick(self, options: Sequence[T]) -> T:
        return options[next(self.left, 0) % len(options)]

    def pick_chunk(self) -> bytes:
        chunk = self.pick(CHUNKS)
        self.body += chunk
        return chunk


REPORTS: dict[Event, Callable[[Exchange, Choices], str | None]] = {
    Event.ATTEMPT_STARTED: lambda it, choices: it.attempt_started(time_ms=1, jitter=0.5),
    Event.RESPONSE_STARTED: lambda it, choices: it.response_started(
        ResponseHead(choices.pick(STATUSES), choices.pick(HEADERS))
    ),
    Event.BYTES: lambda it, choices: it.feed(choices.pick_chunk()),
    Event.ENDED: lambda it, choices: it.body_ended(),
    Event.TRANSPORT_FAILED: lambda it, choices: it.transport_failed(TransportFailure(choices.pick([*FailureKind]))),
    Event.CLOSED: lambda it, choices: it.closed(),
    Event.ABANDONED: lambda it, choices: it.abandon(),
}
# Those that would change most if they were taken in the wrong state.
ILLEGAL: dict[Event, Callable[[Exchange], object]] = {
    Event.ATTEMPT_STARTED: lambda it: it.attempt_started(time_ms=2, jitter=0.9),
    Event.RESPONSE_STARTED: lambda it: it.response_started(ResponseHead(200, (("Content-Encoding", "br"),))),
    Event.BYTES: lambda it: it.feed(b"\xff"),
    Event.ENDED: lambda it: it.body_ended(),
    Event.TRANSPORT_FAILED: lambda it: it.transport_failed(TransportFailure(FailureKind.CONNECT)),
    Event.CLOSED: lambda it: it.closed(),
}
# When there are no decisions left, the first is taken, which leads to an end; few are abandoned while there are.
ORDER = [Event.CLOSED, Event.ABANDONED, *[event for event in Event if event is not Event.ABANDONED] * 3]
EVENTS = {state: [event for event in ORDER if (state, event) in TRANSITIONS] for state in State}
PATIENCE = [Timeout(first_text=20), Timeout(first_text=20, total=40)]
ACTIONS = {
    State.STARTING: actions.StartAttempt,
    State.SENDING: actions.SendRequest,
    State.READING: actions.ReadBody,
    State.REFUSED: actions.ReadBody,
    State.CLOSING: actions.CloseResponse,
    State.FINISHED: actions.Finish,
    State.FAILED: actions.Fail,
}


def everything_in(exchange: Exchange) -> list[Any]:
    """Return all that an exchange is made of, copied where it can change in place."""
    decoder, limits, outcome = exchange._decoder, exchange._limits, exchange._outcome
    return [
        {
            name: copy.copy(value) if type(value) in (list, bytearray) else value
            for name, value in vars(exchange).items()
        },
        {name: copy.copy(value) if type(value) is list else value for name, value in vars(decoder).items()},
        (limits.connect, limits.idle, limits.deadline),
        exchange._budget.tokens,
        dict(vars(outcome)) if isinstance(outcome, sdk.AIChatFreeError) else None,
    ]


def test_any_reports_in_any_order_end_in_a_reply_or_an_error_of_ours(cases: Cases) -> None:
    reached: set[tuple[State, Event, State]] = set()

    @examples(cases, 1000, 20_000)
    @given(st.binary(min_size=60, max_size=60), st.sampled_from(PATIENCE), st.booleans())
    def check(decisions: bytes, timeout: Timeout, retry_timeouts: bool) -> None:
        settings = Settings(base_url=URL, timeout=timeout, retry=RetryPolicy(retry_timeouts=retry_timeouts))
        clock, choices = Clock(), Choices(iter(decisions))
        it = Exchange(OneCall(), settings, RetryBudget(), clock)
        text, retries = "", 0
        while it.state not in (State.FINISHED, State.FAILED):
            refuse_what_is_illegal(it)
            state = it.state
            event = choices.pick(EVENTS[state])
            clock.now += choices.pick([0.0, 0.0, 0.5, 30.0])
            text += REPORTS[event](it, choices) or ""
            assert it.state in TRANSITIONS[state, event]
            reached.add((state, event, it.state))
            assert isinstance(it.action, ACTIONS[it.state])
            assert it.reading is (it.state in (State.READING, State.REFUSED))
            assert it.answering is (it.state is State.READING)
            assert it.text == text
            if isinstance(it.action, actions.StartAttempt):
                retries = it.action.number - 1
                choices.body = b""
                assert text == ""
        refuse_what_is_illegal(it)
        if isinstance(it.action, actions.Finish):
            assert (it.action.reply.text, it.action.reply.retries) == (text, retries)
            assert text == choices.body.decode() != ""
        else:
            assert isinstance(it.action, actions.Fail)
            assert isinstance(it.action.error, sdk.AIChatFreeError)
            assert (it.action.error.partial_text, it.action.error.retries) == (text, retries)
            if isinstance(it.action.error, sdk.APIStatusError):  # of this attempt, not of one before
                assert it.action.error.body == choices.body[:MAX_ERROR_BYTES]
        cases.count()

    assert reached == {(at, event, to) for (at, event), targets in TRANSITIONS.items() for to in targets}


def refuse_what_is_illegal(it: Exchange) -> None:
    before = everything_in(it)
    for event, report in ILLEGAL.items():
        if (it.state, event) not in TRANSITIONS:
            with pytest.raises(RuntimeError, match="illegal transition"):
                report(it)
    if it.state in (State.FINISHED, State.FAILED):
        it.abandon()  # an outcome stands
    assert everything_in(it) == before
