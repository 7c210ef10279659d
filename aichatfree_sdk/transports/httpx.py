"""httpx, and httpx2, its maintained fork: whichever the client given to us is from.

The connections that requests open are tapped (`wire`), so that they follow a request's `Limits` at every wait.
A connection that somebody else opened on the same client, or a mock without connections, has no tap: there httpx's own
timeouts hold, the longest of ours for each wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import httpx

from ..core.failure import FailureKind, TransportFailure, client_error
from ..core.limits import Limits
from ..core.request import Request
from ..core.response import ResponseHead
from ..errors import InvalidArgumentError
from ..forking import in_every_child
from .pool import OWNER, areclaim, harden, reclaim
from .slots import Slots
from .wire import AsyncTap, Tap, Wire, observe, opening

# Closing a connection sends a few bytes at most; a peer that does not take them is not waited for.
_CLOSING_SECONDS = 2.0


def _library_of(client: object) -> ModuleType:
    """Return httpx or httpx2, whichever ``client`` or one of its base classes is from."""
    for base in type(client).__mro__:
        name = base.__module__.partition(".")[0]
        if name in ("httpx", "httpx2"):
            return sys.modules[name]
    raise InvalidArgumentError("http_client", f"must be a client of httpx or httpx2, not {type(client).__name__}")


def _check_client(client: object, kind: str) -> ModuleType:
    library = _library_of(client)
    if not isinstance(client, getattr(library, kind)):
        raise InvalidArgumentError(
            "http_client", f"must be a {library.__name__}.{kind} here, not {type(client).__name__}"
        )
    return library


def _make_client(kind: Callable[..., Any], proxy: str | None, max_connections: int) -> Any:
    # Idle connections: httpx's own 20 would close the rest of a burst's, only to open them again for the next one.
    limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
    # A proxy cannot reach our loopback, but HTTP_PROXY would send it there; one that is named as proxy= is meant.
    direct = {} if proxy else {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
    try:
        client = kind(proxy=proxy, mounts=direct, limits=limits, follow_redirects=False)
    except ImportError as error:  # a SOCKS proxy needs a package that httpx does not install
        problem = str(error)
    except (ValueError, httpx.InvalidURL):  # its text repeats the URL, which may hold a password
        where = "it" if proxy else "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
        problem = f"{where} holds no URL of a proxy that can be used: correct or unset it"
    except OSError as error:
        names = "SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE"
        raise InvalidArgumentError("http_client", f"cannot be made with what {names} name: {error}") from error
    else:
        if kind is httpx.Client:
            harden(client)
        return client
    raise InvalidArgumentError("proxy", problem)


def _to_httpx(request: Request, wire: Wire, trace: Callable[..., Any]) -> dict[str, Any]:
    connect = wire.limits.connect_wait()
    longest = wire.limits.wait()
    return {
        "method": request.method,
        "url": request.url,
        "headers": list(request.headers),
        "content": request.body,
        "timeout": (connect, longest, longest, connect),
        "extensions": {"trace": trace, OWNER: wire},
    }


def _host(request: Request) -> str:
    return urlsplit(request.url).hostname or ""


def _head(response: Any) -> ResponseHead:
    # Latin-1 takes any byte, so no header can make this raise; httpx would guess an encoding.
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
    return ResponseHead(response.status_code, headers, response.http_version)


@contextlib.contextmanager
def _translating(library: ModuleType, wire: Wire) -> Generator[None]:
    """Turn whatever ``library`` raises in the block into TransportFailure."""
    try:
        yield
    except GeneratorExit:
        wire.unread = True
        raise
    except _caught(library) as error:
        if wire.closing:
            raise TransportFailure(FailureKind.CLOSED) from None
        with contextlib.suppress(AttributeError):
            error.request = None  # type: ignore[attr-defined] # it holds the body, which holds the password
        kind, detail = _kind_of(error, library, wire), str(error).rstrip(".") or type(error).__name__
        cause: Exception | None = error
        if _is_no_http(error, library):
            # h11 quotes the bytes that it stumbled over, and a server may echo the request in them.
            detail, cause = detail.partition(":")[0], None
        raise TransportFailure(kind, detail + wire.proxy_note(kind)) from cause


def _kind_of(error: Exception, library: ModuleType, wire: Wire) -> FailureKind:
    if isinstance(error, library.PoolTimeout):
        return FailureKind.POOL_TIMEOUT
    if isinstance(error, library.TimeoutException):
        late = wire.connecting or isinstance(error, library.ConnectTimeout)
        return FailureKind.CONNECT_TIMEOUT if late else FailureKind.TIMEOUT
    connecting = (library.ConnectError, library.ProxyError, library.UnsupportedProtocol, library.InvalidURL)
    # What is raised on the way through a proxy, or by a lower layer, does not say in which step it was.
    if wire.connecting or isinstance(error, connecting):
        return FailureKind.CONNECT
    if wire.stale:
        return FailureKind.STALE
    return FailureKind.MALFORMED if _is_no_http(error, library) else FailureKind.BROKEN


def _is_no_http(error: Exception, library: ModuleType) -> bool:
    """Tell bytes that are no HTTP from a connection that ended early: httpx has one class for both, h11 two texts."""
    early = any(words in str(error) for words in ("peer closed", "peer unexpectedly closed", "disconnected"))
    return isinstance(error, library.RemoteProtocolError) and not early


def _caught(library: ModuleType) -> tuple[type[Exception], ...]:
    # What httpcore lets through when it connects or closes, or when a socket is closed under a reader; and for a proxy
    # whose host is no name, whose port is no port, or that does not speak SOCKS.
    network = (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)
    socks = getattr(sys.modules.get("socksio.exceptions"), "SOCKSError", OSError)
    names = (UnicodeError, OverflowError, ExceptionGroup, socks)
    return (library.HTTPError, library.InvalidURL, library.StreamError, *network, *names)


_FORKED = "its http_client has connections of the process that this one was forked from"
_UNASKED = "an answer that was there before the request"
_ELSEWHERE = "its connections are those of another event loop or process"


def _has_been_read(response: Any) -> bool:
    """Tell whether a hook or an auth flow of the user's client has read the body; others have its connection by now.

    Where its chunks ended is lost then, and with it whether the last of them was the failure trailer.
    """
    return bool(response.is_closed or response.is_stream_consumed)


def _read(stream: Any, library: ModuleType, wire: Wire, ended_by: str) -> Generator[bytes]:
    with _translating(library, wire):
        wire.check_process()
        # The stream itself, not iter_raw(): it is the same bytes with fewer generators around them.
        for chunk in stream:
            yield from wire.pieces(chunk)
            wire.check_process()
    if wire.closing:  # an end that looks like the server's, from inside
        raise TransportFailure(FailureKind.CLOSED)
    wire.end(ended_by)


class _Response:
    _transport: HttpxTransport | None = None  # until it is all there: a Ctrl-C may strike in the middle of making it

    def __init__(self, response: Any, library: ModuleType, wire: Wire, transport: HttpxTransport) -> None:
        wire.attach(response)
        self._response = response
        self._library = library
        self._wire = wire
        self.head = _head(response)
        stream = [response.content] if _has_been_read(response) else response.stream
        self.chunks = _read(stream, library, wire, self.head.ended_by)
        wire.body = self.chunks
        self._closing = threading.RLock()
        self._transport = transport

    def close(self) -> None:
        if self._wire.inherited:  # with locks as they were
            return
        if not self._wire.ended:
            self._wire.hang_up()
        # Where another thread reads, that wakes it; httpcore's closing is for one thread, and that is the reader.
        if inspect.getgeneratorstate(self.chunks) != inspect.GEN_RUNNING:
            with self._closing:
                self._close()

    def _close(self) -> None:
        assert self._transport is not None  # noqa: S101 - nobody has one that is half made
        ignored, whole = contextlib.suppress(*_caught(self._library)), False
        try:
            with ignored:
                self._response.close()
            whole = self._wire.ended
        finally:
            if not whole:
                # A Ctrl-C may have come: what they had begun to close, httpx and httpcore take for closed, and h11 may
                # be between two states.
                self._wire.hang_up()
                with ignored:
                    self._response.stream.close()
                self._transport.reclaim(self._wire)
            self._transport.release(self._wire)

    def __del__(self) -> None:
        # This thread may be in the middle of what httpcore does under its lock, so the pool is told later: by the next
        # request. Python drops a Ctrl-C that strikes here, with what was still to be done; so that is noted first.
        if self._transport is not None and self._wire in self._transport.slots.taken:
            self._transport.lost.append(self)
            self._wire.hang_up()
            self._transport.slots.give_back(self._wire)  # somebody may be waiting for it


class HttpxTransport:
    """The blocking transport over httpx or httpx2.

    Args:
        http_client: an ``httpx.Client`` or ``httpx2.Client``, which stays yours to close; None makes one.
        proxy: the URL of a proxy, for a client made here.
        max_connections: how many connections a client made here may have at once.

    Raises:
        InvalidArgumentError: ``http_client`` is no such client, or a SOCKS ``proxy`` lacks its package.
    """

    def __init__(self, http_client: object = None, *, proxy: str | None = None, max_connections: int = 100) -> None:
        self._owned = http_client is None
        self._make = functools.partial(_make_client, httpx.Client, proxy, max_connections)
        # A client that was given to us may have more connections than we are told, or over HTTP/2 need fewer.
        self._make_slots = functools.partial(Slots, max_connections) if self._owned else Slots
        if http_client is None:
            http_client = self._make()
        self._library = _check_client(http_client, "Client")
        self._client: Any = http_client
        self.slots = self._make_slots()
        self.lost: deque[_Response] = deque()  # dropped unclosed, by whichever thread collected the garbage
        self._process: int | None = None  # whose connections these are; set when there may be some
        self._moving: dict[int, threading.Lock] = {}  # to another process; a child inherits a lock as it is
        self._inherited: list[Any] = []
        _transports.add(self)

    def unlock(self) -> None:
        """Unlock the pool in a child, for the garbage collector's sake: the thread that had the lock is not there."""
        harden(self._client)

    def open(self, request: Request, limits: Limits) -> _Response:
        """Send ``request`` and return its response once the head has come, or raise TransportFailure."""
        self.slots.check_open()
        self._check_process()
        wire = Wire(limits, _host(request), blocking=True)
        opened: _Response | None = None
        try:
            limits.wake = self.slots.wake
            self._close_lost()
            self.slots.take(wire)
            limits.wake = wire.hang_up
            self._close_lost()  # once more: what was waited for may have been dropped
            if self._client.is_closed:
                raise TransportFailure(FailureKind.CLOSED)
            with _translating(self._library, wire):
                opened = _Response(self._send(request, wire), self._library, wire, self)
            if self._client.is_closed:  # since we looked; its pool would let the connection live
                raise TransportFailure(FailureKind.CLOSED)
            if wire.unasked:
                raise TransportFailure(FailureKind.STALE, _UNASKED)
            return opened
        except BaseException as error:
            if opened is not None:
                opened.close()
            else:
                try:
                    self._give_up(wire)
                finally:
                    self.slots.taken.discard(wire)  # a Ctrl-C may have kept `release` from it
            # Since we looked: httpx has a RuntimeError for it, a socket that was closed another.
            if isinstance(error, (RuntimeError, TransportFailure)) and self._client.is_closed:
                raise TransportFailure(FailureKind.CLOSED) from None
            raise

    def _send(self, request: Request, wire: Wire) -> Any:
        token = opening.set(wire)
        try:
            built = self._client.build_request(**_to_httpx(request, wire, self._tracer(wire)))
            return self._client.send(built, stream=True, follow_redirects=False)
        finally:
            opening.reset(token)

    def _give_up(self, wire: Wire) -> None:
        """Close what a request that came to no response has left open."""
        try:
            if wire.unfinished:
                with contextlib.suppress(*_caught(self._library)):
                    wire.stream.close()
        finally:
            try:
                self.reclaim(wire)
            finally:
                self.release(wire)

    def reclaim(self, wire: Wire) -> None:
        """Close what a request that was not read to its end has left in the pool."""
        with contextlib.suppress(*_caught(self._library)):
            reclaim(self._client, wire)

    def release(self, wire: Wire) -> None:
        """Note that a request is over."""
        wire.detach()
        self.slots.give_back(wire)

    def close(self) -> None:
        """Close every connection, those of answers on their way too, unless the client was given to us."""
        if self._owned:
            self.slots.close()
        self._close_lost()
        if self._owned:
            self._client.close()

    def _close_lost(self) -> None:
        # Another thread may be at it, and a Ctrl-C strike: what may not be closed yet stays until it is.
        with contextlib.suppress(IndexError, ValueError):
            while True:
                lost = self.lost[0]
                lost.close()
                self.lost.remove(lost)

    def _check_process(self) -> None:
        process = os.getpid()
        if self._process == process:
            return
        with self._moving.setdefault(process, threading.Lock()):
            if self._process not in (None, process):
                if not self._owned:
                    raise TransportFailure(FailureKind.BOUND, _FORKED)
                # Not closed, but kept: another thread of the parent's may have held a lock of it at the fork.
                self._inherited.append((self._client, self.slots, self.lost))
                self._client, self.slots, self.lost = self._make(), self._make_slots(), deque()
            self._process = process

    @staticmethod
    def _tracer(wire: Wire) -> Callable[[str, dict[str, Any]], None]:
        return lambda event, info: observe(wire, Tap, event, info)


_transports: weakref.WeakSet[HttpxTransport] = weakref.WeakSet()


@in_every_child
def _unlock_all() -> None:
    for transport in _transports:
        transport.unlock()


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
    with _translating(library, wire):
        async for chunk in stream:
            for piece in wire.pieces(chunk):
                yield piece
        wire.end(ended_by)


async def _aread_untapped(stream: Any, library: ModuleType, wire: Wire) -> AsyncGenerator[bytes]:
    with _translating(library, wire):
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
        self._stream = _Once(response.content) if _has_been_read(response) else aiter(response.stream)
        self.head = _head(response)
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
        if self._unwound:
            return
        if self._wire.scope is not None:  # of a reader without a tap, whom closing would not wake
            self._wire.scope.cancel()
        try:
            if not self._transport.bound_elsewhere():  # else there is nobody left who could close it
                with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                    await self._close()
                    await self._mend()
        except asyncio.CancelledError:
            self._broken_off = True
            raise
        finally:
            if first:
                self._transport.release(self._wire)

    async def _close(self) -> None:
        with contextlib.suppress(*_caught(self._library)):
            await self._response.aclose()
            # "Already running": somebody is reading, or the loop is closing all generators. A reader finds an error
            # and ends them; where it finds what had come before, it calls this again.
            with contextlib.suppress(RuntimeError):
                await self.chunks.aclose()
                await self._unwind()
                self._unwound = True

    async def _mend(self) -> None:
        """Close what httpx and httpcore take for closed, as they had begun to when everything was cancelled."""
        if self._broken_off:
            with contextlib.suppress(*_caught(self._library)):
                await self._response.stream.aclose()
            await self._transport.reclaim(self._wire)

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
    """

    def __init__(self, http_client: object = None, *, proxy: str | None = None, max_connections: int = 100) -> None:
        self._owned = http_client is None
        if http_client is None:
            http_client = _make_client(httpx.AsyncClient, proxy, max_connections)
        self._library = _check_client(http_client, "AsyncClient")
        self._body = _body_class(self._library)
        self._client: Any = http_client
        # httpcore's pool loses connections for good when requests that wait in it are cancelled
        # (https://github.com/encode/httpcore/issues/1093), so they wait here.
        self._limiter = anyio.CapacityLimiter(max_connections)
        self._wires: set[Wire] = set()  # the requests that are under way
        self._waiting: set[Wire] = set()  # those that have no slot yet
        self._lost: deque[_AsyncResponse] = deque()  # dropped unclosed, by whichever thread collected the garbage
        self._home: tuple[Any, int] | None = None  # whose connections these are; set when there may be some

    async def open(self, request: Request, limits: Limits) -> _AsyncResponse:
        """Send ``request`` and return its response once the head has come, or raise TransportFailure."""
        if self.bound_elsewhere():
            raise TransportFailure(FailureKind.BOUND, _ELSEWHERE)
        self._check_open()
        wire = Wire(limits, _host(request), blocking=False)
        await self._take_slot(wire)
        try:
            await self._close_lost()
            self._check_open()
            response = await self._send(request, wire)
            wire.attach(response)
            with _translating(self._library, wire):
                opened = _AsyncResponse(response, self._library, wire, self)
        except BaseException:
            await self._give_up(wire)
            raise
        if wire.unasked:
            await opened.aclose()
            raise TransportFailure(FailureKind.STALE, _UNASKED)
        return opened

    async def _give_up(self, wire: Wire) -> None:
        """Close what a request that came to no response has left open."""
        try:
            with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                try:
                    if wire.unfinished:
                        with contextlib.suppress(*_caught(self._library)):
                            await wire.stream.aclose()
                finally:
                    await self.reclaim(wire)
        finally:
            self.release(wire)

    async def reclaim(self, wire: Wire) -> None:
        """Close what a request that was not read to its end has left in the pool."""
        with contextlib.suppress(*_caught(self._library)):
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

        token = opening.set(wire)
        try:
            with _translating(self._library, wire), anyio.move_on_after(wire.limits.wait()) as wire.scope:
                built = self._client.build_request(**_to_httpx(request, wire, trace))
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
        """Close every connection, unless the client was given to us."""
        if self.bound_elsewhere():
            raise client_error(FailureKind.BOUND, _ELSEWHERE)
        await self._close_lost()
        if self._owned:
            for wire in [*self._wires, *self._waiting]:
                wire.closing = True
                if wire.scope is not None:
                    wire.scope.cancel()
            with anyio.CancelScope(shield=True):
                await self._client.aclose()
