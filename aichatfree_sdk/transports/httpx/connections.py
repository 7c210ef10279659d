"""The connections of an httpx client of our own: each in the hands of one request, or idle on a stack.

httpcore's pool goes over all its connections at each beginning and end of a request, and over all of them again for
each that is idle, which is most of what 500 streams cost. It cannot be told otherwise, but its parts are public: this
asks it for new connections alone, which it makes directly or through a proxy, and stands where httpx's transport looks
for it.

The `Wire` of a request has its connection from before the first byte until `settle`, and nothing else decides what
becomes of it; so there is nothing to mend, wherever a request is cancelled or a Ctrl-C strikes. There is no lock: a
deque's ``pop`` and ``append`` need none. The one thing that a Ctrl-C can do is to leave an idle connection unused until
all are closed.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, Self

import httpcore

from ...core.failure import FailureKind, TransportFailure
from .pool import OWNER
from .wire import Wire


class _Connections:
    """What threads and tasks share: all of it that does not wait.

    Args:
        pool: httpcore's pool, which makes connections.
        most: how many there may be; the idle ones give way.
        make_context: makes the TLS context that ``pool`` gets before the first connection that needs one.
    """

    def __init__(self, pool: Any, most: int, make_context: Callable[[], Any] | None = None) -> None:
        self._pool = pool
        self._most = most
        self._make_context = make_context
        self._idle: dict[tuple[Any, ...], deque[Any]] = {}  # by where they go to; the last that became idle comes first
        self._all: dict[Any, deque[Any]] = {}  # with the stack that each is on when it is idle

    def __repr__(self) -> str:
        idle = sum(map(len, list(self._idle.values())))
        return f"<{type(self).__name__}, {len(self._all) - idle} in use, {idle} idle>"

    def _supply(self, wire: Wire, origin: Any) -> Iterator[Any]:
        """Give ``wire`` a connection to ``origin``, and yield those that the caller has to close."""
        idle = self._idle.setdefault((origin.scheme, origin.host, origin.port), deque())
        while len(idle) > 1 and (oldest := _taken(idle.popleft)) is not None:
            if not oldest.has_expired():
                idle.appendleft(oldest)
                break
            yield from self._give_away(oldest)
        while wire.connection is None:
            newest = _taken(idle.pop)
            if newest is None:
                for stack in list(self._idle.values()):
                    while len(self._all) >= self._most and (oldest := _taken(stack.popleft)) is not None:
                        yield from self._give_away(oldest)
                newest = self._create(origin)
                self._all[newest] = idle
            elif newest.has_expired():
                yield from self._give_away(newest)
                continue
            wire.pool, wire.connection = self, newest

    def _create(self, origin: Any) -> Any:
        if origin.scheme == b"https" and self._make_context is not None:
            self._pool._ssl_context = self._make_context()  # noqa: SLF001
            self._make_context = None
        return self._pool.create_connection(origin)

    def _give_away(self, connection: Any) -> Iterator[Any]:
        yield connection  # whoever closes it may be kept from it: until it is closed, it is here
        self._all.pop(connection, None)

    def _put_back(self, wire: Wire, *, whole: bool) -> Iterator[Any]:
        """Take the connection of ``wire`` back if its answer came ``whole``; else yield it, to be closed."""
        connection = wire.connection
        if connection is None:
            return
        wire.doomed = wire.doomed or not (whole and connection.is_idle())
        if not wire.doomed and (stack := self._all.get(connection)) is not None:
            wire.connection = None  # first: one that is idle may be another request's at once
            stack.append(connection)
            return
        yield from self._give_away(connection)
        wire.connection = None


class Connections(_Connections):
    """Those of an ``httpx.Client``."""

    def handle_request(self, request: Any) -> Any:
        """Send ``request``, as httpcore's pool would."""
        wire = request.extensions[OWNER]
        for connection in self._supply(wire, request.url.origin):
            connection.close()
        with _closed_meanwhile():
            return wire.connection.handle_request(request)

    def settle(self, wire: Wire, *, whole: bool) -> None:
        """End the part of ``wire`` in its connection, which is used again if the answer came ``whole``."""
        for connection in self._put_back(wire, whole=whole):
            connection.close()

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._all):
            connection.close()
        self._all.clear()
        self._idle.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncConnections(_Connections):
    """Those of an ``httpx.AsyncClient``."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send ``request``, as httpcore's pool would."""
        wire = request.extensions[OWNER]
        for connection in self._supply(wire, request.url.origin):
            await connection.aclose()
        with _closed_meanwhile():
            return await wire.connection.handle_async_request(request)

    async def settle(self, wire: Wire, *, whole: bool) -> None:
        """End the part of ``wire`` in its connection, which is used again if the answer came ``whole``."""
        for connection in self._put_back(wire, whole=whole):
            await connection.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for connection in list(self._all):
            await connection.aclose()
        self._all.clear()
        self._idle.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@contextlib.contextmanager
def _closed_meanwhile() -> Generator[None]:
    try:
        yield
    except httpcore.ConnectionNotAvailable:  # nobody else has it: all were closed between the supply and this
        raise TransportFailure(FailureKind.CLOSED) from None


def _taken(take: Callable[[], Any]) -> Any:
    try:
        return take()
    except IndexError:
        return None
