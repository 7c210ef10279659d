"""How long a request waits: aiohttp has one timeout for a connection and one for a read, and `Limits` move."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from attrs import define, field

from ...core.limits import nobody_waits


@define(eq=False)
class Clock:
    """Ends a wait that lasts too long; one timer serves all waits of a request, so that one costs no timer of its own.

    The timer is set for the earliest moment at which a wait could be over; when it goes off early, it is set again.

    Attributes:
        loop: the event loop that the request belongs to.
        expire: ends the wait.
        late: it had to.
    """

    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)
    expire: Callable[[], None] = nobody_waits
    late: bool = False
    _due: float = math.inf  # when the wait that is going on has lasted too long; inf: there is none
    _earliest: float = math.inf  # when the timer goes off; inf: never
    _timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float | None) -> None:
        """A wait begins, or what is waited for is another thing now."""
        self._due = due = math.inf if seconds is None else self.loop.time() + seconds
        if due < self._earliest:
            self._set(due)

    def stop(self) -> None:
        """The wait is over."""
        self._due = math.inf

    def cancel(self) -> None:
        """There will be no more waits."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, due: float) -> None:
        self.cancel()
        self._earliest = due
        self._timer = self.loop.call_at(due, self._look)

    def end(self) -> None:
        """End the wait that is going on."""
        self.late = True
        self.expire()

    def _look(self) -> None:
        self._earliest = math.inf
        if self._due <= self.loop.time():
            self.end()
        elif self._due < math.inf:
            self._set(self._due)
