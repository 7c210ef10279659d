"""The transport over httpx or httpx2 for asyncio and trio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import httpx
from attrs import define

from ...cancellation import apart
from ...core.failure import FailureKind, TransportFailure, client_error
from ...core.limits import Limits
from ...core.request import Request
from ..base import AsyncResponse
from ..reading import read_less
from .connections import AsyncConnections
from .library import (
    ELSEWHERE,
    UNASKED,
    caught,
    check_client,
    client_request,
    has_been_read,
    head_of,
    host_of,
    make_client,
    own_request,
    translating,
)
from .pool import areclaim
from .wire import Tap, Wire, compact, observe, opening

# Closing a connection sends a few bytes at most; a peer that does not take them is not waited for.
_CLOSING_SECONDS = 2.0


@define(eq=False, repr=False)
class AsyncTap(Tap):
    """Stands in for the ``read`` of an async network stream."""

    async def read_for(self, wire: Wire, max_bytes: int) -> Any:
        """Read for a request, as long as its limits allow."""
        try:
            wire.raw = compact(await self.read(max_bytes, wire.wait()))
        except asyncio.CancelledError:
            # What httpcore does on its way up from here is lost if a second one strikes; so it finds it done.
            give_up = wire.give_up()
            if give_up is not None:
                await apart(give_up)
            raise
        wire.reads += 1
        wire.received = wire.received or bool(wire.raw)
        return wire.raw


class _Chunks:
    """An async generator of chunks that does not pass for ended when it was closed, as a loop does that ends."""

    def __init__(self, generator: AsyncGenerator[bytes], wire: Wire) -> None:
        self.aclose = generator.aclose
        self._next = generator.__anext__
        self._wire = wire

    def __aiter__(self) -> _Chunks:
        return self

    def __anext__(self) -> Coroutine[Any, Any, bytes]:
        self._wire.check_process()
        if self._wire.unread:
            raise TransportFailure(FailureKind.BROKEN, "its event loop has ended")
        return self._next()


async def _aread(stream: Any, library: ModuleType, wire: Wire, ended_by: str) -> AsyncGenerator[bytes]:
    with translating(library, wire):
        async for chunk in stream:
            for piece in wire.pieces(chunk):
                yield piece
        wire.end(ended_by)


async def _aread_untapped(stream: Any, library: ModuleType, wire: Wire) -> AsyncGenerator[bytes]:
    with translating(library, wire):
        while True:
            chunk: bytes | None = None
            # A scope a chunk costs 5 to 10 us; it is the price of a connection that cannot be tapped.
            with anyio.move_on_after(wire.limits.wait()) as wire.scope:
                chunk = await anext(stream, None)
            if wire.scope.cancelled_caught:
                raise TransportFailure(FailureKind.CLOSED if wire.closing else FailureKind.TIMEOUT)
            if chunk is None:
                return
            yield chunk


class _AsyncResponse:
    # Nothing that it holds refers to it, so that it ends as soon as its stream is dropped, not with the next garbage.
    def __init__(self, response: Any, library: ModuleType, wire: Wire, transport: AsyncHttpxTransport) -> None:
        self._closed = True  # until it is all there: there may be no body to read any more
        self._unwound = self._broken_off = False
        self._transport = transport
        self._response = response
        self._library = library
        self._wire = wire
        self._stream = _Once(response.content) if has_been_read(response) else aiter(response.stream)
        self.head = head_of(response)
        if wire.tap is None:
            chunks = _aread_untapped(self._stream, library, wire)
        else:
            chunks = _aread(self._stream, library, wire, self.head.ended_by)
        self.chunks = _Chunks(chunks, wire)
        wire.body = (self._stream, chunks)
        wire.give_up = weakref.WeakMethod(self.aclose)
        self._closed = False

    async def aclose(self) -> None:
        first, self._closed = not self._closed, True
        if self._unwound and self._wire.connection is None:
            return
        self._wire.wake()  # a reader without a tap, whom closing would not
        try:
            if not self._transport.bound_elsewhere():  # else there is nobody left who could close it
                with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                    await self._close()
                    await self._settle()
        except asyncio.CancelledError:
            self._broken_off = True
            raise
        finally:
            if first:
                self._transport.release(self._wire)

    async def _close(self) -> None:
        with contextlib.suppress(*caught(self._library)):
            await self._response.aclose()
            # "Already running": somebody is reading, or the loop is closing all generators. A reader finds an error
            # and ends them; where it finds what had come before, it calls this again.
            with contextlib.suppress(RuntimeError):
                await self.chunks.aclose()
                await self._unwind()
                self._unwound = True

    async def _settle(self) -> None:
        if self._broken_off:
            # What they had begun to close when everything was cancelled, httpx and httpcore take for closed.
            with contextlib.suppress(*caught(self._library)):
                await self._response.stream.aclose()
        if self._broken_off or (self._unwound and self._wire.connection is not None):
            await self._transport.settle(self._wire, whole=self._wire.ended and not self._broken_off)

    def __del__(self) -> None:
        # Nothing can be awaited here, and the event loop may be another thread's, or have ended.
        if not self._closed:
            self._transport.lose(self, self._wire)

    async def _unwind(self) -> None:
        """Run httpx's nested generators to their end.

        They are suspended in the middle when a body is not read to its end, and httpx leaves them to the garbage
        collector (httpx2 does not): asyncio then schedules a task, and trio warns. With the connection closed, what
        is left in its buffer comes, and then an error.
        """
        async for _ in self._stream:
            pass


class _Once:
    """An async iterator of one chunk that is no generator."""

    def __init__(self, data: bytes) -> None:
        self._left = [data]

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def _body_class(library: ModuleType) -> Callable[[bytes], Any]:
    """Return a class of request bodies for ``library``.

    httpx's own iterates by a generator; a request that fails while it is sent leaves that half-read to the garbage
    collector, and trio warns.
    """

    class Body(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, data: bytes) -> None:
            self._data = data

        def __aiter__(self) -> _Once:
            return _Once(self._data)  # a new one each time: the client's auth flow may send it twice

    return Body


class AsyncHttpxTransport:
    """The transport over httpx or httpx2 for asyncio and trio.

    Args:
        http_client: an ``httpx.AsyncClient`` or ``httpx2.AsyncClient``, which stays yours to close; None makes one.
        proxy: the URL of a proxy, for a client made here.
        max_connections: how many streams may be open at once. For a client of your own it must not be above its own
            limit of connections.

    Raises:
        InvalidArgumentError: ``http_client`` is no such client, or a SOCKS ``proxy`` lacks its package.

    Example:
        >>> import asyncio
        >>> from aichatfree_sdk.transports.httpx import AsyncHttpxTransport
        >>> async def main():
        ...     transport = AsyncHttpxTransport(max_connections=10)
        ...     print(await AsyncClient(transport=transport).ask("Hello"))
        ...     await transport.aclose()
        >>> asyncio.run(main())
        Reply(text='You said: Hello', ...)
    """

    def __init__(self, http_client: object = None, *, proxy: str | None = None, max_connections: int = 100) -> None:
        self._owned = http_client is None
        if http_client is None:
            http_client = make_client(httpx.AsyncClient, AsyncConnections, proxy, max_connections)
        self._library = check_client(http_client, "AsyncClient")
        self._body = _body_class(self._library)
        self._client: Any = http_client
        # httpcore's pool loses connections for good when requests that wait in it are cancelled
        # (https://github.com/encode/httpcore/issues/1093), so they wait here.
        self._limiter = anyio.CapacityLimiter(max_connections)
        self._wires: set[Wire] = set()  # the requests that are under way
        self._waiting: set[Wire] = set()  # those that have no slot yet
        self._lost: deque[_AsyncResponse] = deque()  # dropped unclosed, by whichever thread collected the garbage
        self._home: tuple[Any, int] | None = None  # whose connections these are; set when there may be some

    async def open(self, request: Request, limits: Limits) -> AsyncResponse:
        """Send ``request`` and return its response once the head has come.

        Raises:
            TransportFailure: whatever went wrong with it.
        """
        if self.bound_elsewhere():
            raise TransportFailure(FailureKind.BOUND, ELSEWHERE)
        self._check_open()
        wire = Wire(limits, host_of(request), blocking=False)
        limits.wake = wire.wake
        await self._take_slot(wire)
        try:
            await self._close_lost()
            self._check_open()
            response = await self._send(request, wire)
            wire.attach(response)
            with translating(self._library, wire):
                opened = _AsyncResponse(response, self._library, wire, self)
        except BaseException:
            await apart(lambda: self._give_up(wire))
            raise
        if wire.unasked:
            await opened.aclose()
            raise TransportFailure(FailureKind.STALE, UNASKED)
        return opened

    async def _give_up(self, wire: Wire) -> None:
        """Close what a request that came to no response has left open."""
        try:
            with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                try:
                    if wire.unfinished:
                        with contextlib.suppress(*caught(self._library)):
                            await wire.stream.aclose()
                finally:
                    await self.settle(wire, whole=False)
        finally:
            self.release(wire)

    async def settle(self, wire: Wire, *, whole: bool) -> None:
        """Close what a request that was not read to its end has left open; the connection of a whole answer is kept."""
        with contextlib.suppress(*caught(self._library)):
            if wire.pool is not None:
                await wire.pool.settle(wire, whole=whole)
            elif not whole:
                await areclaim(self._client, wire)

    def release(self, wire: Wire) -> None:
        """Note that a request is over."""
        wire.detach()
        self._give_back(wire)

    def _give_back(self, wire: Wire) -> None:
        if wire in self._wires:
            self._wires.discard(wire)
            self._limiter.release_on_behalf_of(wire)

    def _check_open(self) -> None:
        if self._client.is_closed:
            raise TransportFailure(FailureKind.CLOSED)

    async def _take_slot(self, wire: Wire) -> None:
        self._waiting.add(wire)
        try:
            with anyio.move_on_after(wire.limits.connect_wait()) as wire.scope:
                await self._limiter.acquire_on_behalf_of(wire)
                self._wires.add(wire)
                return
        finally:
            self._waiting.discard(wire)
            wire.scope = None
        raise TransportFailure(FailureKind.CLOSED if wire.closing else FailureKind.POOL_TIMEOUT)

    async def _send(self, request: Request, wire: Wire) -> Any:
        async def trace(event: str, info: dict[str, Any]) -> None:
            observe(wire, AsyncTap, event, info)
            if event.endswith("connect_tcp.complete"):
                read_less(info["return_value"])

        token = opening.set(wire)
        try:
            with translating(self._library, wire), anyio.move_on_after(wire.limits.wait()) as wire.scope:
                if self._owned:
                    # What httpx's client does besides is nobody's wish here (cookies, authentication, its own log), and
                    # a fifth of what a request costs.
                    own = own_request(request, wire, trace)
                    own.stream = self._body(request.body)
                    return await self._client._transport_for_url(own.url).handle_async_request(own)  # noqa: SLF001
                built = self._client.build_request(**client_request(request, wire, trace))
                built.stream = self._body(request.body)
                return await self._client.send(built, stream=True, follow_redirects=False)
        finally:
            wire.scope = None
            opening.reset(token)
        raise TransportFailure(FailureKind.CLOSED if wire.closing else FailureKind.TIMEOUT)

    def lose(self, response: _AsyncResponse, wire: Wire) -> None:
        """Note that a response was dropped unclosed: whoever is next under way closes it. May be called anywhere."""
        self._lost.append(response)
        assert self._home is not None  # noqa: S101 - there was a request
        loop = getattr(self._home[0], "native_token", self._home[0])
        call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        with contextlib.suppress(RuntimeError):  # it has ended
            call_soon(functools.partial(self._give_back, wire))  # somebody may be waiting for it

    async def _close_lost(self) -> None:
        while self._lost:
            await self._lost.popleft().aclose()

    def bound_elsewhere(self) -> bool:
        """Return whether another event loop, or process, was the first to use this."""
        here = (anyio.lowlevel.current_token(), os.getpid())
        self._home = self._home or here
        return self._home != here

    async def aclose(self) -> None:
        """Close every connection, unless the client was given to us.

        Raises:
            ClientBoundError: they are those of another event loop or process.
        """
        if self.bound_elsewhere():
            raise client_error(FailureKind.BOUND, ELSEWHERE)
        await self._close_lost()
        if self._owned:
            for wire in [*self._wires, *self._waiting]:
                wire.closing = True
                wire.wake()
            with anyio.CancelScope(shield=True):
                await self._client.aclose()
