"""What a driver needs of an HTTP library, and all it needs.

A transport sends one request and hands back the response while its body is still on the way. It follows no redirect,
decodes nothing, retries nothing. It bounds every wait by the request's `Limits`, asking them anew each time, since the
exchange moves them while the answer proceeds; and it sets `Limits.wake` to what ends the wait that is going on, for a
stream that another thread or task closes. Whatever its library raises leaves it as `TransportFailure`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from ..core.decoder import Cut
from ..core.failure import FailureKind, TransportFailure
from ..core.limits import Limits
from ..core.request import Request
from ..core.response import ResponseHead


class Response(Protocol):
    """A response whose head has come."""

    @property
    def head(self) -> ResponseHead:
        """The status and the headers."""
        ...

    @property
    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, pieces of a chunk that the network cut as `Cut`.

        Raises:
            TransportFailure: reading it: whatever went wrong with it.
        """
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else drop it; wake a thread that waits for it.

        It never raises, and may be called again.
        """
        ...


class Transport(Protocol):
    """A blocking transport, which many threads may use at once."""

    def open(self, request: Request, limits: Limits) -> Response:
        """Send ``request`` and return its response once the head has come.

        Args:
            request: what to send.
            limits: how long each wait may take, to be asked anew at every one.

        Raises:
            TransportFailure: whatever went wrong with it.
        """
        ...

    def close(self) -> None:
        """Close every connection; it may be called again."""
        ...


class AsyncResponse(Protocol):
    """A response whose head has come."""

    @property
    def head(self) -> ResponseHead:
        """The status and the headers."""
        ...

    @property
    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, pieces of a chunk that the network cut as `Cut`.

        Raises:
            TransportFailure: reading it: whatever went wrong with it.
        """
        ...

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, else drop it; wake a task that waits for it.

        It never raises but for cancellation, and may be called again.
        """
        ...


class AsyncTransport(Protocol):
    """A transport for anyio: asyncio and trio, unless it says otherwise."""

    async def open(self, request: Request, limits: Limits) -> AsyncResponse:
        """Send ``request`` and return its response once the head has come.

        Args:
            request: what to send.
            limits: how long each wait may take, to be asked anew at every one.

        Raises:
            TransportFailure: whatever went wrong with it.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; it may be called again."""
        ...


__all__ = [
    "AsyncResponse",
    "AsyncTransport",
    "Cut",
    "FailureKind",
    "Limits",
    "Request",
    "Response",
    "ResponseHead",
    "Transport",
    "TransportFailure",
]
