"""How long one attempt may wait: set by the exchange, honoured by the transport at every wait."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

# A socket timeout of 0 means "do not wait at all" to the operating system and shows up as another error than a timeout.
_SHORTEST = 0.001


def nobody_waits() -> None:
    """End no wait, as there is none."""


@define(eq=False)
class Limits:
    """The clocks that run during one attempt; the exchange moves them as the answer proceeds.

    Attributes:
        clock: the monotonic clock that ``deadline`` is read on, in seconds.
        connect: seconds for a free connection, and again for making one; None is no limit.
        idle: seconds that one wait for bytes may take; None is no limit.
        deadline: when the attempt has to be over, on ``clock``; None is never.
        wake: ends the wait that is going on in another thread or task; the transport sets it.

    Example:
        >>> import time
        >>> from aichatfree_sdk.core.limits import Limits
        >>> Limits(time.monotonic, connect=10, idle=60).wait()
        60
    """

    clock: Callable[[], float] = field(repr=False)
    connect: float | None = None
    idle: float | None = None
    deadline: float | None = None
    wake: Callable[[], None] = field(default=nobody_waits, repr=False)

    def wait(self) -> float | None:
        """Return how many seconds a wait for bytes that begins now may take; None is for ever."""
        # While text flows without a total deadline no clock is read.
        return self.idle if self.deadline is None else self._until_deadline(self.idle)

    @property
    def expired(self) -> bool:
        """True once the deadline has passed, which a wait that finds bytes at once would not notice."""
        return self.deadline is not None and self.clock() >= self.deadline

    def connect_wait(self) -> float | None:
        """Return how many seconds a wait for a connection that begins now may take; None is for ever."""
        return self.connect if self.deadline is None else self._until_deadline(self.connect)

    def expire(self) -> None:
        """Let no wait last any longer: neither the next one nor that which is going on in another thread or task."""
        self.deadline = float("-inf")  # first: a wait that is not woken begins after this and is over at once
        self.wake()

    def _until_deadline(self, seconds: float | None) -> float:
        assert self.deadline is not None  # noqa: S101 - both callers have just looked
        left = max(self.deadline - self.clock(), _SHORTEST)
        return left if seconds is None else min(seconds, left)
