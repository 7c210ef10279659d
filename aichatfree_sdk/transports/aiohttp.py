"""aiohttp, for asyncio and many streams at once: it reads a delta for a fraction of what httpx takes.

aiohttp has one timeout for a connection and one for a read, the same for a whole request, while `Limits` move as an
answer proceeds. So each request has a `_Clock` of its own.

Closing a response is not waited for, whatever its state, so nothing here has to be kept from a cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
import select
from asyncio import _get_running_loop as _running_loop  # pyright: ignore[reportPrivateUsage]
from collections.abc import Callable, Coroutine
from functools import lru_cache
from io import BytesIO
from typing import Any, Self, TypeVar
from urllib.request import getproxies, proxy_bypass_environment  # type: ignore[attr-defined]

import anyio
from attrs import define, field

from ..core.decoder import Cut
from ..core.failure import FailureKind, TransportFailure, client_error
from ..core.limits import Limits
from ..core.request import Request
from ..core.response import ResponseHead
from ..errors import InvalidArgumentError
from .reading import read_less

try:
    import aiohttp
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http_exceptions import HttpProcessingError, TransferEncodingError
    from aiohttp.streams import StreamReader
    from yarl import URL
except ImportError as error:
    raise ImportError("AiohttpTransport needs aiohttp: pip install 'aichatfree-sdk[aiohttp]'") from error

_T = TypeVar("_T")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ELSEWHERE = "its connections are those of another event loop or process"
_RAISED = (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.TimeoutError, ValueError)

# How much of a body may wait to be read, in pieces and ends of chunks; aiohttp bounds its bytes.
_MOST_PIECES = 8192

# Above it, aiohttp warns that one write of so much holds up the event loop.
_LARGE = 2**20

_to_url = lru_cache(maxsize=64)(functools.partial(URL, encoded=True))


def _nothing() -> None:
    """There is nothing to end."""


@define(eq=False)
class _Clock:
    """Ends a wait that lasts too long; one timer serves all waits of a request, so that one costs no timer of its own.

    The timer is set for the earliest moment at which a wait could be over; when it goes off early, it is set again.

    Attributes:
        loop: the event loop that the request belongs to.
        expire: ends the wait.
        late: it had to.
    """

    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)
    expire: Callable[[], None] = _nothing
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


@define(eq=False)
class _Progress:
    """How far a request has got, as its connection sees it.

    Attributes:
        limits: how long it may wait.
        clock: what sees to it.
        sent: it has a connection.
        reused: which an earlier request had before.
        received: a byte of the response came.
    """

    limits: Limits
    clock: _Clock
    sent: bool = False
    reused: bool = False
    received: bool = False

    def begin(self, *, reused: bool) -> None:
        """Note that there is a connection, on which the request is about to be sent."""
        self.sent, self.reused = True, reused
        self.clock.start(self.limits.wait())


# Which request a connection is for: it is told in the task that sends it. A ContextVar would stay in each callback's
# context, as long as the connection.
_sending: dict[asyncio.Task[Any] | None, _Progress] = {}


class _Body(StreamReader):
    """aiohttp's own, but read piece by piece, as they came, and only then what ended it.

    aiohttp raises what ended a body before it hands over what had come, and finds the ends of chunks by sums that are a
    sixth of what a delta costs. Its parser makes a StreamReader and nothing else, so that becomes one of these.
    """

    __slots__ = ()

    def begin(self) -> None:
        """Put ``b""`` behind each chunk of what has come with the head already."""
        fed = b"".join(self._buffer)
        self._buffer.clear()
        self._cursor = 0  # from here on: where the last chunk ended
        for end in self._http_chunk_splits or ():
            self._buffer += [fed[self._cursor : end], b""]
            self._cursor = end
        if len(fed) > self._cursor:
            self._buffer.append(fed[self._cursor :])

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        """Take a piece."""
        if not data:
            return False
        self._buffer.append(data)
        self.total_bytes += len(data)
        self._size += len(data)
        if self._size > self._high_water:
            self._protocol.pause_reading()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        return False

    def begin_http_chunk_receiving(self) -> None:
        """Keep no list of ends."""

    def end_http_chunk_receiving(self) -> None:
        """Note the end of a chunk; that of the last one, which is empty, is none."""
        if self.total_bytes == self._cursor:
            return
        self._cursor = self.total_bytes
        self._buffer.append(b"")
        if len(self._buffer) > _MOST_PIECES:
            self._protocol.pause_reading()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def wait(self) -> asyncio.Future[None] | None:
        """Return what is done once more has come; None where there is something to take, or there is the end.

        Raises:
            Exception: what ended the body.
        """
        if self._buffer:
            return None
        if self._exception is not None:
            raise self._exception
        if self._eof:
            return None
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def take(self) -> bytes | None:
        """Return a chunk, or a piece of it as `Cut`, or ``b""`` where the piece before was its end; None is the end."""
        buffer = self._buffer
        if not buffer:
            return None
        piece = buffer.popleft()
        self._size -= len(piece)
        paused = self._protocol._reading_paused  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        if paused and self._size < self._low_water and len(buffer) < _MOST_PIECES // 2:
            self._protocol.resume_reading()
        if not piece:
            return piece
        if not buffer or buffer[0]:
            return Cut(piece)
        buffer.popleft()
        return piece


class _Protocol(ResponseHandler):
    """aiohttp's own, which also tells what it sees: aiohttp's exceptions do not."""

    _progress: _Progress | None = None  # of the request whose response has not begun yet
    _ours = False
    _used = False

    def set_response_params(self, **params: Any) -> None:
        """Note that a request is about to be written, if it is not the CONNECT of a tunnel."""
        if "auto_decompress" in params:
            self._progress = progress = _sending.get(asyncio.current_task())
            self._ours = progress is not None
            if progress is not None:
                progress.begin(reused=self._used)
            self._used = True
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Note that bytes came; the head goes to the parser first, lest it be lost with a body that is no HTTP."""
        if self._progress is not None:
            self._progress.received, self._progress = True, None
            end = data.find(b"\r\n\r\n") + 4
            super().data_received(data[:end])
            data = data[end:]
            if not data or self.exception() is not None:
                return
        super().data_received(data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take the head of a response, and its body: of a request of ours, where others share the connector."""
        _, body = data
        if self._ours and type(body) is StreamReader:
            body.__class__ = _Body
            _Body.begin(body)  # type: ignore[arg-type]
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *args: Any, **kwargs: Any) -> None:
        """Tell whoever reads the body, too, that the parser stumbled in it: aiohttp 3.14 lets it wait for ever.

        The connection is aborted here: aiohttp closes it, and again with the next bytes, after which asyncio's TLS
        cannot be aborted any more and waits for a peer that does not read.
        """
        if isinstance(self.exception(), HttpProcessingError):
            return  # what follows from it
        super().set_exception(exc, *args, **kwargs)
        if isinstance(exc, HttpProcessingError):
            if self._payload is not None and not self._payload.is_eof():
                self._payload.set_exception(exc)
            if self.transport is not None:
                self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        read_less(transport)
        super().connection_made(transport)

    def is_connected(self) -> bool:
        """Tell whether it may serve a request: not where bytes came, or wait to be read, that nobody asked for."""
        return super().is_connected() and not self.should_close and not _is_readable(self.transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever reads a body that ends by closing that it did not: aiohttp takes a reset for its end."""
        if exc is not None and self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientConnectionError(str(exc)))
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once, and wake whoever reads from it: aiohttp lets it wait."""
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientConnectionError("closed"))
        super().abort()

    def close(self) -> None:
        """Close the connection, without waiting for a peer that does not take what is still to be sent."""
        self.abort()


@define(eq=False, repr=False)
class _Chunks:
    """The chunks of a response, as they were sent: an async iterator that is no generator, which a loop would close."""

    _body: _Body | None  # None: there is none
    _progress: _Progress
    _transport: AiohttpTransport

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        progress, body = self._progress, self._body
        clock = progress.clock
        if _running_loop() is not clock.loop:
            raise TransportFailure(FailureKind.BOUND, _ELSEWHERE)
        try:
            while body is not None and (waiter := body.wait()) is not None:
                clock.start(progress.limits.wait())
                await waiter
        except _RAISED as error:
            raise self._failure(error) from _shown(error)
        finally:
            clock.stop()
        piece = None if body is None else body.take()
        if piece is not None:
            return piece
        if self._transport.closed or clock.late:  # an end that looks like the server's, from inside
            raise self._failure(aiohttp.ClientError())
        clock.cancel()
        raise StopAsyncIteration

    def _failure(self, error: Exception) -> TransportFailure:
        if self._transport.closed:
            return TransportFailure(FailureKind.CLOSED)
        return TransportFailure(FailureKind.TIMEOUT) if self._progress.clock.late else _failure(error, self._progress)


class _Response:
    __slots__ = ("_clock", "_response", "_transport", "chunks", "head")

    def __init__(self, response: aiohttp.ClientResponse, progress: _Progress, transport: AiohttpTransport) -> None:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
        body = response.content if isinstance(response.content, _Body) else None
        self.head = ResponseHead(response.status, headers, _version(response.version))
        self.chunks = _Chunks(body, progress, transport)
        self._clock = progress.clock
        self._clock.expire = response.close
        self._response = response
        self._transport: AiohttpTransport | None = transport

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Close it; nothing of it waits."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._clock.cancel()
        if self._response.connection is not None:  # it has not ended, or the request is still being written
            self._response.close()
        transport.release()

    def __del__(self) -> None:
        # The event loop may be another thread's, or have ended: then there is nothing left to close.
        if self._transport is not None:
            with contextlib.suppress(RuntimeError):
                self._transport.call_soon(self.close)


class AiohttpTransport:
    """The transport over aiohttp, for `AsyncClient` on asyncio; needs the extra ``aiohttp``.

    Args:
        connector: an aiohttp connector, which stays yours to close: with certificates or limits of your own, or one of
            aiohttp-socks. None makes one.
        proxy: the URL of an HTTP proxy; without it, and without a connector, the usual environment variables hold.
        max_connections: how many streams may be open at once.

    Raises:
        InvalidArgumentError: an argument is not of its kind.

    Example:
        >>> async with AiohttpTransport(max_connections=1000) as transport:
        ...     reply = await AsyncClient(transport=transport).ask("Hello")
    """

    def __init__(
        self,
        connector: aiohttp.BaseConnector | None = None,
        *,
        proxy: str | None = None,
        max_connections: int = 100,
    ) -> None:
        if connector is not None and not isinstance(connector, aiohttp.BaseConnector):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError("connector", f"must be an aiohttp connector, not {type(connector).__name__}")
        if proxy is not None and URL(proxy).scheme not in ("http", "https"):
            raise InvalidArgumentError(
                "proxy", "must be an http or https URL; for SOCKS give an aiohttp-socks connector"
            )
        self.closed = False
        self._connector = connector
        self._proxy = proxy
        self._proxies = getproxies() if connector is None and proxy is None else {}
        self._slots = anyio.Semaphore(max_connections, fast_acquire=True)
        self._session: aiohttp.ClientSession | None = None
        self._home: tuple[asyncio.AbstractEventLoop | None, int] | None = None
        self._opening: set[asyncio.Timeout] = set()

    async def open(self, request: Request, limits: Limits) -> _Response:
        """Send ``request`` and return its response once the head has come, or raise TransportFailure.

        Raises:
            InvalidArgumentError: no asyncio event loop is running.
        """
        if _running_loop() is None:
            raise InvalidArgumentError("transport", "runs on asyncio only: on trio leave it out, or use httpx's")
        if self._bound_elsewhere():
            raise TransportFailure(FailureKind.BOUND, _ELSEWHERE)
        self._check_open()
        progress = _Progress(limits, _Clock())
        limits.wake = progress.clock.end
        try:
            await self._take_slot(progress)
            try:
                response = await self._send(request, progress)
            except BaseException:
                self._slots.release()
                raise
        except BaseException:
            progress.clock.cancel()
            raise
        opened = _Response(response, progress, self)
        if response.status < 200 or not _is_framed(response):
            opened.close()
            raise TransportFailure(FailureKind.MALFORMED)
        return opened

    def release(self) -> None:
        """Note that a response is closed."""
        self._slots.release()

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have ``call`` called in the event loop, from anywhere; RuntimeError where that has ended."""
        assert self._home is not None and self._home[0] is not None  # noqa: S101, PT018 - there was a request
        self._home[0].call_soon_threadsafe(call)

    async def aclose(self) -> None:
        """Close every connection, unless they are those of a connector that was given to us."""
        if self._session is not None:
            if self._bound_elsewhere():
                raise client_error(FailureKind.BOUND, _ELSEWHERE)
            self.closed = True
            for timeout in self._opening:
                _expire(timeout)
            await self._session.close()
        self.closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _check_open(self) -> None:
        if self.closed:
            raise TransportFailure(FailureKind.CLOSED)

    async def _take_slot(self, progress: _Progress) -> None:
        with contextlib.suppress(anyio.WouldBlock):
            self._slots.acquire_nowait()
            return
        try:
            await self._unless_closed(self._slots.acquire(), progress)
        except TimeoutError:
            raise TransportFailure(FailureKind.CLOSED if self.closed else FailureKind.POOL_TIMEOUT) from None

    async def _send(self, request: Request, progress: _Progress) -> aiohttp.ClientResponse:
        self._check_open()
        session, url = self._make_session(), _to_url(request.url)
        task = asyncio.current_task()
        _sending[task] = progress
        try:
            sending = session.request(
                request.method,
                url,
                data=request.body if len(request.body) < _LARGE else BytesIO(request.body),
                headers=request.headers,
                proxy=self._proxy_for(url),
                allow_redirects=False,
            )
            return await self._unless_closed(sending, progress)
        except _RAISED as error:
            failure = TransportFailure(FailureKind.CLOSED) if self.closed else _failure(error, progress)
            raise failure from _shown(error)
        finally:
            del _sending[task]

    async def _unless_closed(self, call: Coroutine[Any, Any, _T], progress: _Progress) -> _T:
        """Return what comes of it, or raise TimeoutError when it has lasted too long, or when this is closed."""
        timeout, clock = asyncio.timeout(None), progress.clock
        clock.expire = functools.partial(_expire, timeout)
        self._opening.add(timeout)
        try:
            async with timeout:
                clock.start(progress.limits.connect_wait())
                return await call
        finally:
            clock.stop()
            clock.expire = _nothing
            self._opening.discard(timeout)

    def _make_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = self._connector or aiohttp.TCPConnector(limit=0)  # the slots are the limit
            if hasattr(connector, "_factory"):  # aiohttp has no public way to say it
                connector._factory = functools.partial(_Protocol, asyncio.get_running_loop())  # type: ignore[assignment]  # noqa: SLF001
            self._session = aiohttp.ClientSession(
                connector=connector,
                connector_owner=self._connector is None,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    def _proxy_for(self, url: URL) -> str | None:
        host = url.host or ""
        if not self._proxies or host in _LOOPBACK or proxy_bypass_environment(host, self._proxies):
            return self._proxy
        return self._proxies.get(url.scheme) or self._proxies.get("all")

    def _bound_elsewhere(self) -> bool:
        here = (_running_loop(), os.getpid())
        self._home = self._home or here
        return self._home != here


def _expire(timeout: asyncio.Timeout) -> None:
    if not timeout.expired():
        timeout.reschedule(-math.inf)


def _is_readable(transport: asyncio.BaseTransport | None) -> bool:
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return False
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


@lru_cache(maxsize=8)
def _version(version: aiohttp.HttpVersion | None) -> str:
    return "" if version is None else f"HTTP/{version.major}.{version.minor}"


def _is_framed(response: aiohttp.ClientResponse) -> bool:
    """Tell whether we know where the body ends: aiohttp's lenient parser takes what it does not know for text."""
    codings = response.headers.getall("Transfer-Encoding", [])
    return all(coding.strip().lower() == "chunked" for coding in codings)


def _failure(error: BaseException, progress: _Progress) -> TransportFailure:
    kind = _kind_of(error, progress)
    # What is no HTTP is quoted by the parser, and a server may echo the request in it.
    return TransportFailure(kind, "" if kind is FailureKind.MALFORMED else _detail(error))


def _kind_of(error: BaseException, progress: _Progress) -> FailureKind:
    if isinstance(error, asyncio.TimeoutError):
        return FailureKind.TIMEOUT if progress.sent else FailureKind.CONNECT_TIMEOUT
    if not progress.sent or isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)):
        return FailureKind.CONNECT
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)) or _is_misframed(error):
        return FailureKind.MALFORMED
    return FailureKind.STALE if progress.reused and not progress.received else FailureKind.BROKEN


def _is_misframed(error: BaseException) -> bool:
    cause = error.__cause__
    early = "Not enough data" in str(cause)
    return isinstance(error, aiohttp.ClientPayloadError) and isinstance(cause, TransferEncodingError) and not early


def _detail(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"{error.os_error}, at the proxy {error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _shown(error: BaseException) -> BaseException | None:
    """Return the cause that a user may see: without the request's headers, a proxy's password, or what came."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error
    hidden = (aiohttp.ClientResponseError, aiohttp.ClientPayloadError, HttpProcessingError)
    return None if isinstance(error, hidden) else error
