"""On a clock that only the tests move: no schedule of retries outlives its deadline or its budget, and none is lost.

The driver of these tests waits as a transport has to: no longer than `Limits` says.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from attrs import define, field, frozen
from cases import Cases
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st
from virtual import URL, Clock, OneCall

import aichatfree_sdk as sdk
from aichatfree_sdk import RetryBudget, RetryPolicy, Settings, Timeout
from aichatfree_sdk.core import actions
from aichatfree_sdk.core.decoder import Cut
from aichatfree_sdk.core.exchange import Exchange
from aichatfree_sdk.core.failure import FailureKind, TransportFailure
from aichatfree_sdk.core.response import ResponseHead

ROW = "properties"

# What a retry can help against: nothing was sent or read, or the server says "not now" (DESIGN.md, "The exchange").
NOT_BEGUN = {FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT, FailureKind.STALE}
NOT_NOW = {408, 425, 429, 502, 503, 504, *range(520, 525)}


@frozen
class Attempt:
    """What the server, or the network, does to one attempt.

    Attributes:
        after: seconds before anything happens; for ever where it is infinite.
        failure: what breaks instead of a response.
        status: of the response.
        retry_after: what it asks for.
        begins: the first piece of its body, of which there may be nothing to hand on yet.
        gaps: seconds before each further piece.
        end: what follows the last piece.
    """

    after: float
    failure: FailureKind | None = None
    status: int = 200
    retry_after: int | None = None
    begins: bytes = b""
    gaps: list[float] = field(factory=list)
    end: FailureKind | None = None


# A wait is bounded by a millisecond at least: a server that is faster than that is never waited for.
FLOOD = [0.0009] * 300
LONG = st.sampled_from([0.0, 0.3, 2.0, 50.0, math.inf])
ANSWERS = st.sampled_from([200, 200, 200, 302, 400, 401, 403, 404, 500, *sorted(NOT_NOW)])
ATTEMPTS = st.one_of(
    st.builds(Attempt, LONG, failure=st.sampled_from([kind for kind in FailureKind if "timeout" not in kind.value])),
    st.builds(
        Attempt,
        LONG,
        status=ANSWERS,
        retry_after=st.none() | st.integers(0, 100),
        begins=st.sampled_from([b"", b"", Cut(b"Int"), b"\xd0"]),
        gaps=st.lists(LONG, max_size=4) | st.just(FLOOD),
        end=st.sampled_from([None, FailureKind.BROKEN, FailureKind.STALE]),
    ),
)
SECONDS = st.none() | st.sampled_from([0.05, 1.0, 7.5, 100.0])
TIMEOUTS = st.builds(Timeout, connect=SECONDS, first_text=st.just(20.0) | SECONDS, idle=st.just(5.0), total=SECONDS)
IMPATIENT = RetryPolicy(retry_timeouts=True)
POLICIES = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 6),
    base_delay=st.sampled_from([0.0, 0.01, 0.5, 3.0]),
    max_delay=st.sampled_from([0.0, 1.0, 8.0, 100.0]),
    max_retry_after=st.sampled_from([0.0, 10.0, 60.0]),
    retry_timeouts=st.booleans(),
)


@define
class Driver:
    """Drives an exchange through what is planned, on a clock of its own, and notes when each attempt began."""

    exchange: Exchange
    clock: Clock
    plan: list[Attempt]
    jitters: list[float]
    starts: list[actions.StartAttempt] = field(factory=list)
    failures: list[FailureKind | None] = field(factory=list)
    fed: bytes = b""  # in the attempt that is under way

    def run(self) -> None:
        while True:
            action = self.exchange.action
            if isinstance(action, actions.StartAttempt):
                self.starts.append(action)
                self.clock.now += action.delay
                self.exchange.attempt_started(time_ms=0, jitter=self._of(self.jitters))
            elif isinstance(action, actions.SendRequest):
                self._attempt(self._of(self.plan), action)
            elif isinstance(action, actions.CloseResponse):
                self.exchange.closed()
            else:
                return

    def _of(self, planned: list[Any]) -> Any:
        return planned[min(len(self.starts), len(planned)) - 1]

    def _attempt(self, attempt: Attempt, action: actions.SendRequest) -> None:
        self.failures.append(None)
        if not self._wait(attempt.after, action):
            return
        if attempt.failure is not None:
            self._fail(attempt.failure)
            return
        headers = () if attempt.retry_after is None else (("Retry-After", str(attempt.retry_after)),)
        self.exchange.response_started(ResponseHead(attempt.status, headers))
        self.exchange.feed(attempt.begins)
        self.fed = attempt.begins
        for gap in attempt.gaps:
            if not self.exchange.reading or not self._wait(gap, action):
                return
            self.exchange.feed(b"x")
            self.fed += b"x"
        if self.exchange.reading and attempt.end is not None:
            self._fail(attempt.end)
        elif self.exchange.reading:
            self.exchange.body_ended()

    def _wait(self, seconds: float, action: actions.SendRequest) -> bool:
        allowed = action.limits.wait()
        if allowed is None:
            allowed = 1000.0  # the network gives up
        self.clock.now += min(seconds, allowed)
        if seconds > allowed:
            self._fail(FailureKind.TIMEOUT)
        return seconds <= allowed

    def _fail(self, kind: FailureKind) -> None:
        self.failures[-1] = kind
        self.exchange.transport_failed(TransportFailure(kind))


def may_retry(error: sdk.AIChatFreeError, failure: FailureKind | None, policy: RetryPolicy) -> bool:
    """Tell whether a retry can help, in the words of the design rather than those of the code."""
    if isinstance(error, sdk.APIStatusError):
        return error.status in NOT_NOW
    if isinstance(error, sdk.FirstTextTimeoutError):
        return policy.retry_timeouts
    return failure in NOT_BEGUN and not isinstance(error, sdk.TotalTimeoutError)


def test_no_schedule_outlives_its_deadline_or_its_retries_and_none_is_lost(cases: Cases) -> None:
    @examples(cases, 300, 10_000)
    @given(
        POLICIES,
        TIMEOUTS,
        st.lists(ATTEMPTS, min_size=1, max_size=5),
        st.lists(st.sampled_from([0.0, 0.01, 0.5, 0.999]), min_size=1, max_size=5),
        st.integers(0, 8),
    )
    @example(IMPATIENT, Timeout(first_text=1), [Attempt(0, begins=Cut(b"Int"), gaps=[2]), Attempt(0, gaps=[0])], [0], 8)
    @example(RetryPolicy(), Timeout(), [Attempt(0, gaps=[0], end=FailureKind.STALE)], [0.5], 8)
    @example(RetryPolicy(base_delay=3), Timeout(total=1), [Attempt(0, FailureKind.CONNECT)], [0.5], 8)
    @example(RetryPolicy(), Timeout(total=0.05), [Attempt(0, gaps=FLOOD)], [0.5], 8)
    @example(RetryPolicy(), Timeout(total=0.05), [Attempt(0, status=400, gaps=FLOOD)], [0.5], 8)
    def check(policy: RetryPolicy, timeout: Timeout, plan: list[Attempt], jitters: list[float], tokens: int) -> None:
        clock, budget = Clock(), RetryBudget(tokens)
        it = Exchange(OneCall(), Settings(base_url=URL, retry=policy, timeout=timeout), budget, clock)
        began = clock.now
        driver = Driver(it, clock, plan, jitters)
        driver.run()
        retries = len(driver.starts) - 1
        deadline = math.inf if timeout.total is None else began + timeout.total
        # A wait that begins at the deadline takes a millisecond: one each for the head, the body, and its end.
        assert clock.now <= deadline + 0.005
        assert retries <= min(policy.max_retries, tokens)
        answered = isinstance(it.action, actions.Finish)
        assert not answered or it.text == driver.fed.decode()
        assert budget.tokens == pytest.approx(min(tokens, tokens - retries + 0.1 * answered))
        moment = began
        for number, start in enumerate(driver.starts[1:], 1):
            assert start.cause is not None
            assert may_retry(start.cause, driver.failures[number - 1], policy)
            assert start.cause.partial_text == ""
            assert start.delay == planned_delay(policy, start.cause, number, jitters[min(number, len(jitters)) - 1])
            moment += start.delay
            assert moment < deadline
        if isinstance(it.action, actions.Fail):
            error = it.action.error
            delay = planned_delay(policy, error, retries + 1, jitters[min(retries + 1, len(jitters)) - 1])
            assert (
                it.text != ""
                or not may_retry(error, driver.failures[-1], policy)
                or retries in (policy.max_retries, tokens)
                or delay is None
                or clock.now + delay >= deadline
            ), "a retry that could have helped was not made"
        cases.count()


def planned_delay(policy: RetryPolicy, error: sdk.AIChatFreeError, retry: int, jitter: float) -> float | None:
    most = min(policy.base_delay * math.prod([2] * (retry - 1)), policy.max_delay)
    asked = error.retry_after if isinstance(error, sdk.APIStatusError) else None
    if asked is not None and asked > policy.max_retry_after:
        return None
    return max(jitter * most, asked or 0.0)


# The budget.


def call(budget: RetryBudget, fails: int, settings: Settings, how: int = 0) -> int:
    """Make a call whose first attempts fail, and return how many attempts it made."""
    failures = [Attempt(0, FailureKind.CONNECT), Attempt(0, status=503), Attempt(0, status=429, retry_after=0)]
    clock = Clock()
    plan = [*[failures[how % 3]] * fails, Attempt(0, gaps=[0])]
    driver = Driver(Exchange(OneCall(), settings, budget, clock), clock, plan, [0.5])
    driver.run()
    return len(driver.starts)


SETTINGS = Settings(base_url=URL)
CALLS = 10_000


def test_an_outage_of_10_000_calls_sends_exactly_100_retries(cases: Cases) -> None:
    budget = RetryBudget()
    assert sum(call(budget, 99, SETTINGS, how) for how in range(CALLS)) == CALLS + 100
    cases.count(CALLS)


def in_threads(work: Callable[[], int]) -> int:
    """Run ``work`` in eight threads, which take turns as often as they can, and return the sum of what it returns."""
    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.append(work())) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
    finally:
        sys.setswitchinterval(interval)
    assert len(done) == len(threads)
    return sum(done)


def test_an_outage_of_10_000_calls_from_threads_sends_exactly_100_retries(cases: Cases) -> None:
    budget = RetryBudget()
    assert in_threads(lambda: sum(call(budget, 99, SETTINGS, how) for how in range(CALLS // 8))) == CALLS + 100
    cases.count(CALLS)


def test_no_token_is_taken_twice_by_threads_or_put_back_in_vain(cases: Cases) -> None:
    cases.count()
    tokens = cases.choose(120_000, 2_000_000)
    budget = RetryBudget(tokens, refund=1)
    assert in_threads(lambda: sum(1 for _ in iter(budget.spend, False))) == tokens
    assert in_threads(lambda: sum(1 for _ in range(tokens // 8) if budget.refund() is None)) == budget.tokens == tokens


def test_what_answers_put_back_is_there_for_retries_to_the_last_tenth(cases: Cases) -> None:
    @examples(cases, 150, 10_000)
    @given(
        st.integers(0, 12),
        st.fractions(0, 2, max_denominator=20),
        st.integers(0, 4),
        st.lists(st.tuples(st.sampled_from([0, 1, 2, 99]), st.integers(1, 20)), max_size=12),
    )
    @example(capacity=1, refund=Fraction(1, 10), max_retries=1, runs=[(99, 1), (0, 10), (99, 1)])
    def check(capacity: int, refund: Fraction, max_retries: int, runs: list[tuple[int, int]]) -> None:
        budget, settings = RetryBudget(capacity, float(refund)), Settings(base_url=URL, retry=RetryPolicy(max_retries))
        tokens = Fraction(capacity)
        for failing in [failing for failing, times in runs for _ in range(times)]:
            retries = min(failing, max_retries, math.floor(tokens))
            assert call(budget, failing, settings, failing) == 1 + retries
            answered = retries == failing
            tokens = min(tokens - retries + refund * answered, Fraction(capacity))
            assert budget.tokens == pytest.approx(float(tokens), abs=1e-6)
        cases.count()
