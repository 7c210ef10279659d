"""How many requests may be under way at once, for threads: those that are too many wait here, first come, first served.

httpcore's pool makes them wait as well, but nothing reaches who waits there: neither `close` nor that a stream was
dropped, whose connection is free now.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from time import monotonic

from ...core.failure import FailureKind, TransportFailure
from .wire import Wire

# Seconds after which a thread looks again by itself: until a wait is over, Python may not see a Ctrl-C.
_LONGEST_WAIT = 1.0


class Slots:
    """The requests that are under way, and those that wait.

    Who has asked for a slot gives it back, got or not: so a Ctrl-C can strike anywhere. To give back takes no lock: a
    finalizer may do it, in a thread that is in the middle of anything here.

    Args:
        number: how many may be under way.

    Attributes:
        taken: the requests that are.
    """

    def __init__(self, number: int = sys.maxsize) -> None:
        self.taken: set[Wire] = set()
        self._number = number
        self._waiting: dict[Wire, queue.SimpleQueue[None]] = {}
        self._taking = threading.RLock()  # the garbage collector may strike under it, and a finalizer ask something
        self._closed = False

    def take(self, wire: Wire) -> None:
        """Wait for a slot, or raise TransportFailure when the limits of ``wire`` do not let it wait any longer."""
        seconds = wire.limits.connect_wait()
        end = None if seconds is None else monotonic() + seconds
        told: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting[wire] = told
        try:
            while not self._took(wire):
                left = _LONGEST_WAIT if end is None else end - monotonic()
                self.check_open()
                if left <= 0 or wire.limits.expired:
                    raise TransportFailure(FailureKind.POOL_TIMEOUT)
                with contextlib.suppress(queue.Empty):
                    told.get(timeout=min(left, _LONGEST_WAIT))
        finally:
            self._waiting.pop(wire, None)  # first: no Ctrl-C comes between
            self._tell(self._free)
        # `close` says so first and then looks who is here; this is here first and then looks.
        self.check_open()

    def give_back(self, wire: Wire) -> None:
        """Give the slot of ``wire`` back, if it has one."""
        self.taken.discard(wire)
        self._tell(self._free)

    def check_open(self) -> None:
        """Raise TransportFailure after `close`."""
        if self._closed:
            raise TransportFailure(FailureKind.CLOSED)

    def close(self) -> None:
        """Let nobody wait any longer, neither for a slot nor for the network."""
        self._closed = True
        for wire in [*self.taken, *self._waiting]:
            wire.closing = True
            wire.limits.expire()

    def wake(self) -> None:
        """Have all who wait look at their limits."""
        self._tell(len(self._waiting))

    @property
    def _free(self) -> int:
        return max(0, self._number - len(self.taken))

    def _took(self, wire: Wire) -> bool:
        with self._taking:
            if wire in list(self._waiting)[: self._free]:
                del self._waiting[wire]
                self.taken.add(wire)
        return wire in self.taken

    def _tell(self, number: int) -> None:
        for told in list(self._waiting.values())[:number]:
            told.put(None)
