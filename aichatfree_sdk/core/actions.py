"""What an exchange asks of its driver, and with which method the driver answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from ..errors import AIChatFreeError
from ..reply import Reply
from .limits import Limits
from .request import Request


@frozen
class StartAttempt:
    """Wait ``delay`` seconds, then call `Exchange.attempt_started`.

    Attributes:
        number: which attempt it is, from 1.
        delay: seconds to wait before it.
        cause: why it is a retry; None for the first attempt.
    """

    number: int
    delay: float
    cause: AIChatFreeError | None


@frozen(eq=False)
class SendRequest:
    """Send ``request``, then call `Exchange.response_started` or `Exchange.transport_failed`."""

    request: Request
    limits: Limits


@frozen
class ReadBody:
    """Call `Exchange.feed` for each chunk, then `Exchange.body_ended` or `Exchange.transport_failed`."""


@frozen
class CloseResponse:
    """Close the response, then call `Exchange.closed`."""


@frozen(eq=False)
class Finish:
    """The answer is complete; there is nothing more to do."""

    _put_together: Callable[[], Reply]

    @property
    def reply(self) -> Reply:
        """The answer; its text is put together when this is first asked for, and takes its memory twice meanwhile."""
        return self._put_together()


@frozen(eq=False)
class Fail:
    """Raise ``error``; there is nothing more to do."""

    error: AIChatFreeError


Action: TypeAlias = StartAttempt | SendRequest | ReadBody | CloseResponse | Finish | Fail
