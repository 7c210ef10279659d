"""When a request is sent again, and after how long: arithmetic on arguments, no clock and no dice of its own."""

from __future__ import annotations

import threading
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from attrs import field, frozen

from ..errors import (
    AIChatFreeError,
    APIStatusError,
    FirstTextTimeoutError,
    InvalidArgumentError,
    OverloadedError,
    RateLimitError,
    RedirectError,
    UpstreamRefusedError,
)
from ..validation import check_count, check_seconds
from .failure import FailureKind

if TYPE_CHECKING:
    from attrs import Attribute

# Statuses that say "not now" rather than "no": RFC 9110 and RFC 8470 (425), and Cloudflare's 520 to 524 for an origin
# that did not answer.
RETRYABLE_STATUSES = frozenset({408, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524})
# Failures after which the server has not begun to work on the request. Of STALE that is an assumption: a server that
# read the request and hangs up without a byte looks the same, and is far rarer than one that closes an idle connection.
RETRYABLE_FAILURES = frozenset({FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT, FailureKind.STALE})

# 400 digits would be infinity to float(); this is longer than any date is away.
_NEVER = 999_999_999_999.0
# Ten tenths of a token add up to 0.9999999999999999 of one.
_ROUNDING = 1e-6


def _check_retries(_: object, attribute: Attribute[int], value: object) -> None:
    check_count(attribute.name, value, minimum=0)


def _check_delay(_: object, attribute: Attribute[float], value: object) -> None:
    check_seconds(attribute.name, value)


@frozen
class RetryPolicy:
    """Which failures are tried again, how often, and after how long.

    A retry happens only before any text was delivered, and only where it can help: no connection, a kept-alive
    connection found dead, a rate limit, overload, and the statuses 408, 425, 429, 502, 503, 504 and 520 to 524.

    Args:
        max_retries: how often one call is sent again at most; 0 turns retries off.
        base_delay: seconds; the n-th retry waits a random part of ``base_delay * 2 ** (n - 1)`` (full jitter).
        max_delay: seconds; the most that random wait may grow to.
        max_retry_after: seconds; a ``Retry-After`` of up to this is waited for, a longer one is raised at once.
        retry_timeouts: also retry when no text came in time. The model may still be at work on the first request,
            and its owner pays for both.

    Raises:
        InvalidArgumentError: a value is negative or no number.

    Example:
        >>> RetryPolicy(max_retries=0)
        RetryPolicy(max_retries=0, base_delay=0.5, max_delay=8.0, max_retry_after=60.0, retry_timeouts=False)
    """

    max_retries: int = field(default=2, validator=_check_retries)
    base_delay: float = field(default=0.5, validator=_check_delay)
    max_delay: float = field(default=8.0, validator=_check_delay)
    max_retry_after: float = field(default=60.0, validator=_check_delay)
    retry_timeouts: bool = False

    def covers(self, error: AIChatFreeError, failure: FailureKind | None = None) -> bool:
        """Return whether sending the request again can help.

        Args:
            error: what the call would fail with.
            failure: the transport's failure that led to it, if one did.

        Example:
            >>> RetryPolicy().covers(RateLimitError("too many requests", status=429))
            True
        """
        if isinstance(error, FirstTextTimeoutError):
            return self.retry_timeouts
        if isinstance(error, (RateLimitError, OverloadedError)):
            return True
        if isinstance(error, APIStatusError):
            return error.status in RETRYABLE_STATUSES and not isinstance(error, (UpstreamRefusedError, RedirectError))
        return failure in RETRYABLE_FAILURES

    def delay(self, retry: int, jitter: float, retry_after: float | None = None) -> float | None:
        """Return the seconds to wait before retry number ``retry`` (from 1), or None where there shall be none.

        Args:
            retry: which retry it would be.
            jitter: a random number in [0, 1).
            retry_after: what the server asked for, seconds.

        Example:
            >>> RetryPolicy(base_delay=1).delay(2, jitter=0.5)
            1.0
        """
        if retry > self.max_retries:
            return None
        # 2 ** 64 delays outlast everything; the bound keeps the power from overflowing a float.
        backoff = min(self.base_delay * 2.0 ** min(retry - 1, 64), self.max_delay) * jitter
        if retry_after is None:
            return backoff
        return max(retry_after, backoff) if retry_after <= self.max_retry_after else None


class RetryBudget:
    """A token bucket that all calls of a client share, so that an outage is not multiplied by retries.

    A retry takes one token; an answer puts a tenth of one back. While the server is well the bucket is full; while it
    is down, at most ``capacity`` retries are sent however many calls fail, and then each call fails at its first
    attempt.

    Args:
        capacity: the most tokens it holds, and what it begins with.
        refund: what an answer puts back.

    Raises:
        InvalidArgumentError: a value is negative.

    Example:
        >>> budget = RetryBudget(capacity=1)
        >>> budget.spend(), budget.spend()
        (True, False)
    """

    def __init__(self, capacity: float = 100, refund: float = 0.1) -> None:
        if capacity < 0 or refund < 0:
            raise InvalidArgumentError("capacity" if capacity < 0 else "refund", "must be 0 or more")
        self._capacity = capacity
        self._refund = refund
        self._tokens = float(capacity)
        self._lock = threading.Lock()

    @property
    def tokens(self) -> float:
        """How many retries are left at the moment."""
        return self._tokens

    def spend(self) -> bool:
        """Take a token for one retry; False where none is left."""
        with self._lock:
            if self._tokens < 1 - _ROUNDING:
                return False
            self._tokens = max(0.0, self._tokens - 1)
            return True

    def refund(self) -> None:
        """Note that an answer came."""
        with self._lock:
            self._tokens = min(self._capacity, self._tokens + self._refund)


def parse_retry_after(value: str, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait, or None where it says nothing sensible.

    Args:
        value: the header: seconds, or an HTTP date.
        now: the time the server sent it, seconds since the Unix epoch.
    """
    value = value.strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        return min(float(value), _NEVER)
    moment = parse_http_date(value)
    return None if moment is None else max(0.0, moment - now)


def parse_http_date(value: str) -> float | None:
    """Return the seconds since the Unix epoch that an HTTP date names, or None where it is none."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
