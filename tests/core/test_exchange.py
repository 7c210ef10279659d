"""The life of an answer, with a clock that only the test moves."""

from __future__ import annotations

import itertools
import json
import tracemalloc

import pytest

import aichatfree_sdk as sdk
from aichatfree_sdk import Message, RetryBudget, RetryPolicy, Settings, Timeout
from aichatfree_sdk.core.actions import CloseResponse, Fail, Finish, ReadBody, SendRequest, StartAttempt
from aichatfree_sdk.core.decoder import Cut
from aichatfree_sdk.core.exchange import TRANSITIONS, Event, Exchange, State
from aichatfree_sdk.core.failure import FailureKind, TransportFailure
from aichatfree_sdk.core.request import AnswerCall
from aichatfree_sdk.core.response import MAX_ERROR_BYTES, ResponseHead

CHUNKED = ResponseHead(200, (("Transfer-Encoding", "chunked"),))
TRAILER = b"Internal server error"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Play:
    """An exchange and the hands of a driver, for tests."""

    def __init__(self, budget: RetryBudget | None = None, *, keep_text: bool = True, **settings: object) -> None:
        self.clock = Clock()
        self.budget = budget or RetryBudget()
        self.settings = Settings(base_url="http://chat.example", **settings)  # type: ignore[arg-type]
        call = AnswerCall(self.settings, (Message("user", "q"),))
        self.exchange = Exchange(call, self.settings, self.budget, self.clock, keep_text=keep_text)

    def start(self, jitter: float = 0.5) -> StartAttempt:
        action = self.exchange.action
        assert isinstance(action, StartAttempt)
        self.clock.now += action.delay
        self.exchange.attempt_started(time_ms=int(self.clock.now * 1000), jitter=jitter)
        return action

    def open(self, head: ResponseHead = CHUNKED, jitter: float = 0.5) -> Exchange:
        self.start(jitter)
        assert isinstance(self.exchange.action, SendRequest)
        self.exchange.response_started(head)
        return self.exchange

    def refuse(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.open(ResponseHead(status, tuple((k.replace("_", "-"), v) for k, v in headers.items())))
        assert isinstance(self.exchange.action, ReadBody)
        assert self.exchange.feed(body) == ""
        if self.exchange.reading:
            assert self.exchange.body_ended() == ""
        self.close()

    def fail(self, kind: FailureKind, detail: str = "") -> None:
        self.exchange.transport_failed(TransportFailure(kind, detail))

    def close(self) -> None:
        assert isinstance(self.exchange.action, CloseResponse)
        assert not self.exchange.reading
        self.exchange.closed()

    @property
    def reply(self) -> sdk.Reply:
        assert isinstance(self.exchange.action, Finish)
        return self.exchange.action.reply

    @property
    def error(self) -> sdk.AIChatFreeError:
        assert isinstance(self.exchange.action, Fail)
        assert self.exchange.state is State.FAILED
        return self.exchange.action.error


def test_an_answer() -> None:
    play = Play()
    assert play.exchange.action == StartAttempt(1, 0.0, None)
    exchange = play.open()
    assert exchange.answering
    assert exchange.action == ReadBody()
    play.clock.now += 2
    assert exchange.feed("При".encode()[:5]) == "Пр"
    play.clock.now += 1
    assert exchange.feed("и".encode()[1:] + b"!") == "и!"
    assert exchange.text == "При!"
    assert exchange.body_ended() == ""
    play.close()
    assert play.reply == sdk.Reply("При!", sdk.Timing(2, 3), "chunked", 0, 200, CHUNKED.headers)
    assert play.reply.message == Message("assistant", "При!")


@pytest.mark.parametrize("keep_text", [True, False])
def test_an_answer_takes_the_memory_of_the_text_that_is_kept(keep_text: bool) -> None:
    play, chunks = Play(keep_text=keep_text), 200_000
    exchange, delta = play.open(), b"word "
    exchange.feed(delta)  # what comes with the first text is no text
    tracemalloc.start()
    try:
        for _ in range(chunks):
            exchange.feed(delta)
        exchange.body_ended()
        play.close()
        assert isinstance(exchange.action, Finish)
        _, peak = tracemalloc.get_traced_memory()
        reply = play.reply
        after, meanwhile = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    text = chunks * len(delta) if keep_text else 0
    assert peak < text * 1.2 + 5_000  # the buffer grows by an eighth at a time
    assert meanwhile < text * 2.2 + 5_000  # the text is put together when the reply is asked for
    assert after < text + 5_000
    assert (len(reply.text), exchange.text, play.reply) == ((chunks + 1) * len(delta) * keep_text, reply.text, reply)


def test_every_attempt_is_stamped_and_signed_afresh() -> None:
    play, bodies = Play(), []
    for _ in range(2):
        play.start()
        action = play.exchange.action
        assert isinstance(action, SendRequest)
        bodies.append(json.loads(action.request.body))
        play.clock.now += 1
        play.fail(FailureKind.CONNECT)
    for body in bodies:
        assert body["sign"] == sdk.generate_signature(body["time"], "q")
    assert bodies[0]["time"] < bodies[1]["time"]


def test_a_held_back_beginning_comes_out_at_the_end() -> None:
    exchange = Play().open()
    assert exchange.feed(Cut(b"In")) == ""
    assert exchange.body_ended() == "In"
    assert exchange.text == "In"


def test_the_failure_trailer_ends_the_answer_and_is_not_in_it() -> None:
    play = Play()
    exchange = play.open()
    assert exchange.feed(b"Once upon a time ") == "Once upon a time "
    assert exchange.feed(TRAILER) == ""
    assert exchange.body_ended() == ""
    play.close()
    assert type(play.error) is sdk.StreamInterruptedError
    assert play.error.partial_text == "Once upon a time "
    assert "in the middle" in str(play.error)


def test_a_blocked_prompt_is_a_failure_without_text_and_not_tried_again() -> None:
    play = Play()
    play.open().feed(TRAILER)
    play.exchange.body_ended()
    play.close()
    assert type(play.error) is sdk.StreamInterruptedError
    assert play.error.partial_text == ""
    assert "blocked" in str(play.error)


def test_the_trailer_is_text_where_it_is_turned_off() -> None:
    play = Play(failure_trailer=None)
    assert play.open().feed(TRAILER) == TRAILER.decode()
    play.exchange.body_ended()
    play.close()
    assert play.reply.text == TRAILER.decode()


def test_an_empty_answer() -> None:
    play = Play()
    play.open().body_ended()
    play.close()
    assert type(play.error) is sdk.EmptyReplyError


@pytest.mark.parametrize(
    ("chunks", "text", "told"),
    [
        ([b"ok", b"\xd0\xff"], "ok", "is not UTF-8"),
        ([b"ok \xff"], "ok ", "is not UTF-8"),
        ([b"ok ", b"ok \xff"], "ok ok ", "is not UTF-8"),
        ([b"\xff"], "", "is not UTF-8"),
        ([b"ok", b"\xd0"], "ok", "ends inside a UTF-8 character"),
        ([b"12345678901"], "1234567890", "longer than max_reply_bytes"),
        ([b"\xd0", Cut(b"In")], "", "is not UTF-8"),
    ],
)
def test_a_body_that_is_no_text(chunks: list[bytes], text: str, told: str) -> None:
    play = Play(max_reply_bytes=10)
    exchange = play.open()
    got = "".join(exchange.feed(chunk) for chunk in chunks if exchange.reading)
    if exchange.reading:
        got += exchange.body_ended()
    play.close()
    assert type(play.error) is sdk.InvalidReplyError
    assert told in str(play.error)
    assert got == play.error.partial_text == text


def test_a_compressed_body_is_not_even_read() -> None:
    play = Play()
    play.open(ResponseHead(200, (("Content-Encoding", "gzip"),)))
    play.close()
    assert type(play.error) is sdk.InvalidReplyError
    assert "compressed ('gzip')" in str(play.error)


@pytest.mark.parametrize("status", [201, 206, 299])
def test_any_2xx_is_an_answer(status: int) -> None:
    play = Play()
    play.open(ResponseHead(status, ())).feed(b"ok")
    play.exchange.body_ended()
    play.close()
    assert (play.reply.status, play.reply.ended_by) == (status, "close")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500, 501])
def test_a_refusal_that_a_retry_cannot_help(status: int) -> None:
    play = Play()
    play.refuse(status)
    assert isinstance(play.error, sdk.APIStatusError)
    assert (play.error.status, play.error.retries) == (status, 0)


def test_a_refusal_that_a_retry_can_help_is_tried_again_and_the_cause_is_told() -> None:
    play = Play()
    play.refuse(503)
    action = play.exchange.action
    assert isinstance(action, StartAttempt)
    assert (action.number, action.delay) == (2, 0.25)
    assert type(action.cause) is sdk.OverloadedError
    play.refuse(429)
    action = play.exchange.action
    assert isinstance(action, StartAttempt)
    assert (action.number, action.delay) == (3, 0.5)
    play.open().feed(b"ok")
    play.exchange.body_ended()
    play.close()
    assert (play.reply.text, play.reply.retries) == ("ok", 2)


def test_retries_end() -> None:
    play = Play(retry=RetryPolicy(max_retries=2))
    for _ in range(3):
        play.refuse(503)
    assert type(play.error) is sdk.OverloadedError
    assert play.error.retries == 2
    assert play.budget.tokens == 98


def test_retry_after_is_honoured_up_to_the_cap() -> None:
    play = Play()
    play.refuse(429, retry_after="30")
    assert isinstance(play.exchange.action, StartAttempt)
    assert play.exchange.action.delay == 30
    play.refuse(429, retry_after="61")
    assert type(play.error) is sdk.RateLimitError
    assert play.error.retry_after == 61


def test_an_empty_budget_ends_retries_and_an_answer_refunds_it() -> None:
    budget = RetryBudget(capacity=1, refund=1)
    first = Play(budget)
    first.refuse(503)
    first.refuse(503)
    assert first.error.retries == 1
    second = Play(budget)
    second.open().feed(b"ok")
    second.exchange.body_ended()
    assert budget.tokens == 1


def test_an_outage_of_10_000_calls_sends_at_most_100_retries() -> None:
    budget = RetryBudget()
    sent = 0
    for _ in range(10_000):
        play = Play(budget)
        while isinstance(play.exchange.action, StartAttempt):
            play.start()
            sent += 1
            play.fail(FailureKind.CONNECT)
    assert sent <= 10_100


def test_no_retry_that_would_begin_after_the_total_deadline() -> None:
    play = Play(timeout=Timeout(total=1.2), retry=RetryPolicy(base_delay=1))
    play.refuse(503)
    assert isinstance(play.exchange.action, StartAttempt)
    play.refuse(503)
    assert type(play.error) is sdk.OverloadedError


def test_a_broken_error_body_is_the_error_all_the_same() -> None:
    play = Play()
    play.open(ResponseHead(401, ())).feed(b'{"error":')
    play.fail(FailureKind.BROKEN)
    play.close()
    assert type(play.error) is sdk.AuthenticationError


def test_an_error_body_is_read_up_to_its_limit() -> None:
    play = Play()
    play.refuse(400, b"x" * MAX_ERROR_BYTES)
    assert type(play.error) is sdk.BadRequestError


@pytest.mark.parametrize(
    ("kind", "error", "told"),
    [
        (FailureKind.CONNECT, sdk.ConnectError, "could not connect to http://chat.example (why): check"),
        (FailureKind.CONNECT_TIMEOUT, sdk.ConnectTimeoutError, "no connection within 10 s"),
        (FailureKind.POOL_TIMEOUT, sdk.ConnectTimeoutError, "the pool is full"),
        (FailureKind.STALE, sdk.TransportError, "before an answer began"),
        (FailureKind.TIMEOUT, sdk.IdleTimeoutError, "nothing more came"),
        (FailureKind.BROKEN, sdk.TransportError, "before an answer began (why)"),
        (FailureKind.MALFORMED, sdk.InvalidReplyError, "not HTTP"),
        (FailureKind.CLOSED, sdk.ClientClosedError, "closed"),
        (FailureKind.BOUND, sdk.ClientBoundError, "used elsewhere"),
    ],
)
def test_a_failure_before_the_response(kind: FailureKind, error: type[Exception], told: str) -> None:
    play = Play(retry=RetryPolicy(max_retries=0))
    play.start()
    play.fail(kind, "why")
    assert type(play.error) is error
    assert told in str(play.error)
    assert isinstance(play.error.__cause__, TransportFailure)


@pytest.mark.parametrize("kind", [FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT, FailureKind.STALE])
def test_a_request_that_was_not_read_is_tried_again(kind: FailureKind) -> None:
    play = Play()
    play.start()
    play.fail(kind)
    assert isinstance(play.exchange.action, StartAttempt)


@pytest.mark.parametrize(
    "kind",
    [FailureKind.TIMEOUT, FailureKind.BROKEN, FailureKind.MALFORMED, FailureKind.POOL_TIMEOUT, FailureKind.CLOSED],
)
def test_a_request_that_may_have_been_read_is_not(kind: FailureKind) -> None:
    play = Play()
    play.start()
    play.fail(kind)
    assert play.error.retries == 0


@pytest.mark.parametrize(("chunk", "text"), [(b"so far", "so far"), (Cut(b"In"), ""), (b"", "")])
def test_a_connection_that_breaks_in_the_answer(chunk: bytes, text: str) -> None:
    play = Play()
    play.open().feed(chunk)
    play.fail(FailureKind.BROKEN)
    play.close()
    assert type(play.error) is sdk.StreamInterruptedError
    assert play.error.partial_text == text
    assert ("partial_text" in str(play.error)) is bool(text)


def test_nothing_is_tried_again_once_text_was_handed_on() -> None:
    play = Play()
    play.open().feed(b"so far")
    play.fail(FailureKind.STALE)
    play.close()
    assert type(play.error) is sdk.StreamInterruptedError
    assert play.error.retries == 0


def test_the_first_text_clock_and_then_the_idle_clock() -> None:
    play = Play(timeout=Timeout(connect=3, first_text=20, idle=5))
    play.start()
    action = play.exchange.action
    assert isinstance(action, SendRequest)
    assert (action.limits.connect_wait(), action.limits.wait()) == (3, 20)
    play.clock.now += 15
    assert (action.limits.connect_wait(), action.limits.wait()) == (3, 5)
    play.exchange.response_started(CHUNKED)
    play.exchange.feed(Cut(b"In"))
    assert action.limits.wait() == 5
    play.exchange.feed(b"deed")
    assert action.limits.wait() == 5
    play.clock.now += 1000
    assert action.limits.wait() == 5
    play.fail(FailureKind.TIMEOUT)
    play.close()
    assert type(play.error) is sdk.IdleTimeoutError
    assert play.error.partial_text == "Indeed"
    assert "5 s" in str(play.error)


@pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.CONNECT_TIMEOUT])
def test_no_text_in_time(kind: FailureKind) -> None:
    play = Play(timeout=Timeout(first_text=20))
    play.start()
    play.clock.now += 20
    play.fail(kind)
    assert type(play.error) is sdk.FirstTextTimeoutError
    assert isinstance(play.error, TimeoutError)


def test_a_timeout_without_text_is_tried_again_where_the_policy_says_so() -> None:
    play = Play(timeout=Timeout(first_text=20), retry=RetryPolicy(retry_timeouts=True))
    play.open()
    play.clock.now += 20
    play.fail(FailureKind.TIMEOUT)
    play.close()
    assert isinstance(play.exchange.action, StartAttempt)


@pytest.mark.parametrize("held", [Cut(b"Int"), "ж".encode()[:1]])
def test_what_an_attempt_held_back_is_gone_with_it(held: bytes) -> None:
    play = Play(timeout=Timeout(first_text=20), retry=RetryPolicy(retry_timeouts=True))
    assert play.open().feed(held) == ""
    play.clock.now += 20
    play.fail(FailureKind.TIMEOUT)
    play.close()
    assert play.open().feed(b"ok") == "ok"


@pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.CONNECT_TIMEOUT, FailureKind.POOL_TIMEOUT])
def test_the_total_clock_bounds_everything(kind: FailureKind) -> None:
    play = Play(
        timeout=Timeout(connect=None, first_text=None, idle=None, total=7), retry=RetryPolicy(retry_timeouts=True)
    )
    play.start()
    action = play.exchange.action
    assert isinstance(action, SendRequest)
    assert (action.limits.connect_wait(), action.limits.wait()) == (7, 7)
    play.clock.now += 8
    assert action.limits.wait() == 0.001
    play.fail(kind)
    assert type(play.error) is sdk.TotalTimeoutError
    assert "7 s" in str(play.error)
    assert ("the pool is full" in str(play.error)) is (kind is FailureKind.POOL_TIMEOUT)


def test_without_clocks_waits_are_for_ever() -> None:
    play = Play(timeout=Timeout(connect=None, first_text=None, idle=None, total=None))
    play.start()
    action = play.exchange.action
    assert isinstance(action, SendRequest)
    assert (action.limits.connect_wait(), action.limits.wait()) == (None, None)
    play.fail(FailureKind.TIMEOUT)
    assert "the time allowed" in str(play.error)


def test_the_total_clock_runs_on_after_the_first_text() -> None:
    play = Play(timeout=Timeout(idle=60, total=10))
    play.open().feed(b"x")
    play.clock.now += 4
    assert play.exchange._limits.wait() == 6


def test_a_flood_that_leaves_nothing_to_wait_for_ends_at_the_total_clock() -> None:
    play = Play(timeout=Timeout(total=10))
    play.open().feed(b"before ")
    play.clock.now += 11
    assert play.exchange.feed(b"after") == "after"
    play.close()
    assert type(play.error) is sdk.TotalTimeoutError
    assert play.error.partial_text == "before after"


@pytest.mark.parametrize("where", ["starting", "sending", "reading", "refused", "closing", "retrying"])
def test_abandoned_anywhere(where: str) -> None:
    play = Play()
    opened = False
    if where == "sending":
        play.start()
    elif where == "reading":
        play.open().feed(b"so far")
        opened = True
    elif where == "refused":
        play.open(ResponseHead(503, ()))
        opened = True
    elif where in ("closing", "retrying"):
        play.open(ResponseHead(503, ()))
        play.exchange.body_ended()
        opened = where == "closing"
        if not opened:
            play.close()
    play.exchange.abandon()
    if opened:
        play.close()
    assert type(play.error) is sdk.StreamInterruptedError
    assert play.error.partial_text == ("so far" if where == "reading" else "")
    play.exchange.abandon()
    assert play.exchange.state is State.FAILED


@pytest.mark.parametrize("ending", ["finished", "failed"])
def test_an_outcome_stands_whatever_the_caller_does_after_it(ending: str) -> None:
    play = Play()
    exchange = play.open()
    exchange.feed(b"x" if ending == "finished" else b"\xff")
    if exchange.reading:
        exchange.body_ended()
    exchange.abandon()
    play.close()
    exchange.abandon()
    assert exchange.state.value == ending
    assert (type(play.error) is sdk.InvalidReplyError) if ending == "failed" else play.reply.text == "x"


def test_a_failure_that_quotes_a_secret_is_told_without_it() -> None:
    play = Play(password="canary")
    play.start()
    play.fail(FailureKind.MALFORMED, "illegal line: b'canary'")
    assert "illegal line: b'***'" in str(play.error)
    assert "canary" not in str(play.error.__cause__)


REPORTS = {
    Event.ATTEMPT_STARTED: lambda e: e.attempt_started(time_ms=0, jitter=0),
    Event.RESPONSE_STARTED: lambda e: e.response_started(CHUNKED),
    Event.BYTES: lambda e: e.feed(b"x"),
    Event.ENDED: lambda e: e.body_ended(),
    Event.TRANSPORT_FAILED: lambda e: e.transport_failed(TransportFailure(FailureKind.BROKEN)),
    Event.CLOSED: lambda e: e.closed(),
}


def bring_to(state: State) -> Exchange:
    play = Play()
    if state is State.SENDING:
        play.start()
    elif state is State.REFUSED:
        play.open(ResponseHead(503, ()))
    elif state is not State.STARTING:
        exchange = play.open()
        if state is not State.READING:
            exchange.feed(b"\xff" if state is State.FAILED else b"x")
            if exchange.reading:
                exchange.body_ended()
            if state is not State.CLOSING:
                exchange.closed()
    assert play.exchange.state is state
    return play.exchange


@pytest.mark.parametrize(("state", "event"), [p for p in itertools.product(State, REPORTS) if p not in TRANSITIONS])
def test_an_illegal_report_raises_and_changes_nothing(state: State, event: Event) -> None:
    exchange = bring_to(state)
    with pytest.raises(RuntimeError, match="illegal transition"):
        REPORTS[event](exchange)
    assert exchange.state is state


@pytest.mark.parametrize(("state", "event"), [p for p in TRANSITIONS if p[1] in REPORTS])
def test_a_legal_report_leads_where_the_table_says(state: State, event: Event) -> None:
    exchange = bring_to(state)
    REPORTS[event](exchange)
    assert exchange.state in TRANSITIONS[state, event]
