"""aiohttp, for asyncio and many streams at once: it reads a delta for a fraction of what httpx takes.

aiohttp has one read timeout for a whole request, while `Limits` move as an answer proceeds. So each response has a
timer of its own, which costs a delta two looks at a number: it is set for the earliest moment at which a wait could
have lasted too long, and when it goes off early, it is set again.

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
# What aiohttp would add of its own.
_SKIPPED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_RAISED = (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.TimeoutError, ValueError)

# How much of a body may wait to be read, in pieces and ends of chunks; aiohttp bounds its bytes.
_MOST_PIECES = 8192

# Above it, aiohttp warns that one write of so much holds up the event loop.
_LARGE = 2**20

_to_url = lru_cache(maxsize=64)(functools.partial(URL, encoded=True))


@define(eq=False)
class _Progress:
    """How far a request has got, as its connection sees it.

    Attributes:
        sent: it has a connection.
        reused: which an earlier request had before.
        received: a byte of the response came.
    """

    sent: bool = False
    reused: bool = False
    received: bool = False


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

    async def take(self) -> bytes | None:
        """Return a chunk, or a piece of one as `Cut`, or ``b""`` where the piece before was its end; None is the end.

        Raises:
            Exception: what ended the body.
        """
        buffer = self._buffer
        while not buffer:
            if self._exception is not None:
                raise self._exception
            if self._eof:
                return None
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
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
                progress.sent, progress.reused = True, self._used
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

    _response: aiohttp.ClientResponse
    _limits: Limits
    _progress: _Progress
    _transport: AiohttpTransport
    _body: _Body | None  # None: there is none
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _earliest: float = field(default=math.inf, init=False)  # when the timer goes off; inf: never
    _due: float = field(default=0.0, init=False)  # when the wait that is going on has lasted too long
    _waiting: bool = field(default=False, init=False)
    _late: bool = field(default=False, init=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if _running_loop() is not self._loop:
            raise TransportFailure(FailureKind.BOUND, _ELSEWHERE)
        seconds = self._limits.wait()
        if seconds is not None:
            self._due = due = self._loop.time() + seconds
            if due < self._earliest:
                self._set_clock()
        self._waiting = True
        try:
            piece = None if self._body is None else await self._body.take()
        except _RAISED as error:
            raise self._failure(error) from _shown(error)
        finally:
            self._waiting = False
        if piece is not None:
            return piece
        if self._transport.closed or self._late:  # an end that looks like the server's, from inside
            raise self._failure(aiohttp.ClientError())
        self.stop_clock()
        raise StopAsyncIteration

    def _set_clock(self) -> None:
        self.stop_clock()
        self._earliest = self._due
        self._timer = self._loop.call_at(self._due, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._earliest = math.inf
        if not self._waiting:
            return  # the next read sets it
        if self._loop.time() < self._due:
            self._set_clock()
            return
        self._late = True
        self._response.close()

    def stop_clock(self) -> None:
        """Let no timer go off any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _failure(self, error: Exception) -> TransportFailure:
        if self._transport.closed:
            return TransportFailure(FailureKind.CLOSED)
        return TransportFailure(FailureKind.TIMEOUT) if self._late else _failure(error, self._progress)


class _Response:
    __slots__ = ("_response", "_transport", "chunks", "head")

    def __init__(self, response: aiohttp.ClientResponse, chunks: _Chunks, transport: AiohttpTransport) -> None:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
        self.head = ResponseHead(response.status, headers, _version(response.version))
        self.chunks = chunks
        self._response = response
        self._transport: AiohttpTransport | None = transport

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Close it; nothing of it waits."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self.chunks.stop_clock()
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
        await self._take_slot(limits)
        progress = _Progress()
        try:
            response = await self._send(request, limits, progress)
            body = response.content if isinstance(response.content, _Body) else None
            opened = _Response(response, _Chunks(response, limits, progress, self, body), self)
        except BaseException:
            self._slots.release()
            raise
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
                if not timeout.expired():
                    timeout.reschedule(-math.inf)
            await self._session.close()
        self.closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _check_open(self) -> None:
        if self.closed:
            raise TransportFailure(FailureKind.CLOSED)

    async def _take_slot(self, limits: Limits) -> None:
        with contextlib.suppress(anyio.WouldBlock):
            self._slots.acquire_nowait()
            return
        try:
            await self._unless_closed(self._slots.acquire(), limits.connect_wait())
        except TimeoutError:
            raise TransportFailure(FailureKind.CLOSED if self.closed else FailureKind.POOL_TIMEOUT) from None

    async def _send(self, request: Request, limits: Limits, progress: _Progress) -> aiohttp.ClientResponse:
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
                timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect_wait()),
            )
            return await self._unless_closed(sending, limits.wait())
        except _RAISED as error:
            failure = TransportFailure(FailureKind.CLOSED) if self.closed else _failure(error, progress)
            raise failure from _shown(error)
        finally:
            del _sending[task]

    async def _unless_closed(self, call: Coroutine[Any, Any, _T], seconds: float | None) -> _T:
        """Return what comes of it, or raise TimeoutError after so many seconds, or when this is closed."""
        timeout = asyncio.timeout(seconds)
        self._opening.add(timeout)
        try:
            async with timeout:
                return await call
        finally:
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
                skip_auto_headers=_SKIPPED,
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
