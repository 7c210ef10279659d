"""When and after how long: numbers in, numbers out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aichatfree_sdk import (
    APIStatusError,
    ConnectError,
    EmptyReplyError,
    FirstTextTimeoutError,
    InvalidArgumentError,
    OverloadedError,
    RateLimitError,
    RedirectError,
    RetryBudget,
    RetryPolicy,
    ServerError,
    TotalTimeoutError,
    TransportError,
    UpstreamRefusedError,
)
from aichatfree_sdk.core.failure import FailureKind
from aichatfree_sdk.core.retry import RETRYABLE_STATUSES, parse_retry_after


@pytest.mark.parametrize("status", range(400, 600))
def test_which_statuses_are_tried_again(status: int) -> None:
    expected = status in {408, 425, 429, 502, 503, 504, *range(520, 525)}
    assert RetryPolicy().covers(APIStatusError("", status=status)) is expected
    assert (status in RETRYABLE_STATUSES) is expected


@pytest.mark.parametrize(
    ("error", "failure", "expected"),
    [
        (RateLimitError("", status=500), None, True),
        (OverloadedError("", status=500), None, True),
        (ServerError("", status=500), None, False),
        (UpstreamRefusedError("", status=503), None, False),
        (RedirectError("", status=307), None, False),
        (ConnectError(""), FailureKind.CONNECT, True),
        (TransportError(""), FailureKind.STALE, True),
        (TransportError(""), FailureKind.BROKEN, False),
        (FirstTextTimeoutError(""), FailureKind.TIMEOUT, False),
        (TotalTimeoutError(""), FailureKind.TIMEOUT, False),
        (EmptyReplyError(""), None, False),
    ],
)
def test_which_failures_are_tried_again(error: object, failure: FailureKind | None, expected: bool) -> None:
    assert RetryPolicy().covers(error, failure) is expected  # type: ignore[arg-type]


def test_a_timeout_is_tried_again_only_where_the_policy_says_so() -> None:
    assert RetryPolicy(retry_timeouts=True).covers(FirstTextTimeoutError(""), FailureKind.TIMEOUT)
    assert not RetryPolicy(retry_timeouts=True).covers(TotalTimeoutError(""), FailureKind.TIMEOUT)


def test_the_backoff_doubles_up_to_its_cap_and_is_scaled_by_the_jitter() -> None:
    policy = RetryPolicy(max_retries=6, base_delay=1, max_delay=8)
    assert [policy.delay(retry, 0.5) for retry in range(1, 8)] == [0.5, 1, 2, 4, 4, 4, None]


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_the_backoff_is_never_longer_than_its_cap(retry: int, jitter: float) -> None:
    delay = RetryPolicy(max_retries=10**6).delay(retry, jitter)
    assert delay is not None
    assert 0 <= delay <= 8


def test_retry_after_is_waited_for_up_to_the_cap_and_no_retry_beyond_it() -> None:
    policy = RetryPolicy(max_retry_after=60)
    assert policy.delay(1, 0, 60) == 60
    assert policy.delay(1, 0.99, 0) == pytest.approx(0.495)
    assert policy.delay(1, 0, 60.1) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120),
        (" 1.5 ", 1.5),
        ("0", 0),
        ("9" * 5000, 999999999999),
        ("Wed, 21 Oct 2015 07:28:10 GMT", 10),
        ("Wed, 21 Oct 2015 07:28:10 -0000", 10),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("", None),
        (".", None),
        ("-1", None),
        ("soon", None),
        ("١٢", None),
        ("Wed, 99 Foo 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(value: str, expected: float | None) -> None:
    now = 1445412480.0  # Wed, 21 Oct 2015 07:28:00 GMT
    assert parse_retry_after(value, now) == expected


@given(st.text(max_size=40))
def test_no_header_makes_parsing_raise(value: str) -> None:
    seconds = parse_retry_after(value, 0)
    assert seconds is None or seconds >= 0


def test_the_budget_runs_out_and_answers_fill_it_again() -> None:
    budget = RetryBudget(capacity=2, refund=0.5)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    budget.refund()
    assert not budget.spend()
    budget.refund()
    assert budget.spend()
    for _ in range(100):
        budget.refund()
    assert budget.tokens == 2


@pytest.mark.parametrize("arguments", [{"capacity": -1}, {"refund": -1}])
def test_a_budget_is_not_negative(arguments: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError, match="must be 0 or more"):
        RetryBudget(**arguments)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("base_delay", -1),
        ("max_delay", float("nan")),
        ("max_retry_after", "1"),
    ],
)
def test_a_policy_names_its_bad_argument(argument: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=argument) as caught:
        RetryPolicy(**{argument: value})  # type: ignore[arg-type]
    assert caught.value.argument == argument
