"""Calls that are counted, of which one, whichever is wanted, fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen


@frozen
class Fault:
    """What fails, and when.

    Attributes:
        name: what it is called.
        calls: the calls that can fail so.
        make: makes what is raised; where it makes None, a read finds an end that has not come.
        at: which call fails, counted from 1.
        lasting: whether every call after it that is in ``calls`` fails, too.
    """

    name: str
    calls: frozenset[str]
    make: Callable[[], BaseException | None]
    at: int = 0
    lasting: bool = False


@frozen
class Place:
    """Where an exchange was when a call failed.

    Attributes:
        call: what was called.
        reused: whether the connection had carried an earlier request.
        secure: whether it was under TLS by then.
        received: what had come of the response so far, head and body as HTTP has them.
    """

    call: str
    reused: bool
    secure: bool
    received: bytes

    @property
    def status(self) -> int | None:
        """The response's status; None before its head is complete."""
        head, complete, _ = self.received.partition(b"\r\n\r\n")
        return int(head.split()[1]) if complete else None

    @property
    def body(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2]


@define(eq=False)
class Failing:
    """Counts calls, and lets those fail that shall.

    Attributes:
        fault: what shall fail, if anything.
        calls: the calls while it was armed.
        places: where calls failed.
        raised: what they raised.
    """

    fault: Fault | None = field(default=None, init=False)
    calls: list[str] = field(factory=list, init=False)
    places: list[Place] = field(factory=list, init=False)
    raised: list[BaseException] = field(factory=list, init=False)
    _armed: bool = field(default=False, init=False)

    def arm(self, fault: Fault | None) -> None:
        """Count from here on."""
        self.fault, self._armed = fault, True

    def disarm(self) -> None:
        self._armed = False

    @property
    def left_open(self) -> list[Any]:
        """What was opened and is not closed."""
        raise NotImplementedError

    def called(self, call: str, *, reused: bool = False, secure: bool = False, received: bytes = b"") -> bool:
        """Raise what this call shall raise, and return whether it has failed without that."""
        if not self._armed:
            return False
        self.calls.append(call)
        fault, number = self.fault, len(self.calls)
        if fault is None or call not in fault.calls or number < fault.at or (number > fault.at and not fault.lasting):
            return False
        self.places.append(Place(call, reused, secure, received))
        error = fault.make()
        if error is None:
            return True
        self.raised.append(error)
        raise error
