"""Requests and responses over aiohttp.

Closing a response is not waited for, whatever its state, so nothing here has to be kept from a cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
from asyncio import _get_running_loop as _running_loop  # pyright: ignore[reportPrivateUsage]
from collections.abc import Callable, Coroutine
from functools import lru_cache
from io import BytesIO
from typing import Any, Self, TypeVar
from urllib.request import getproxies, proxy_bypass_environment  # type: ignore[attr-defined]

import aiohttp
import anyio
from aiohttp.http_exceptions import HttpProcessingError, TransferEncodingError
from attrs import define
from yarl import URL

from ...core.failure import FailureKind, TransportFailure, client_error
from ...core.limits import Limits, nobody_waits
from ...core.request import Request
from ...core.response import ResponseHead
from ...errors import InvalidArgumentError
from ..base import AsyncResponse
from .clock import Clock
from .connections import Body, Progress, Protocol, sending

_T = TypeVar("_T")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ELSEWHERE = "its connections are those of another event loop or process"
_RAISED = (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.TimeoutError, ValueError)

# Above it, aiohttp warns that one write of so much holds up the event loop.
_LARGE = 2**20

_to_url = lru_cache(maxsize=64)(functools.partial(URL, encoded=True))


@define(eq=False, repr=False)
class _Chunks:
    """The chunks of a response, as they were sent: an async iterator that is no generator, which a loop would close."""

    _body: Body | None  # None: there is none
    _progress: Progress
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

    def __init__(self, response: aiohttp.ClientResponse, progress: Progress, transport: AiohttpTransport) -> None:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
        body = response.content if isinstance(response.content, Body) else None
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
        >>> import asyncio
        >>> from aichatfree_sdk.transports.aiohttp import AiohttpTransport
        >>> async def main():
        ...     async with AiohttpTransport(max_connections=1000) as transport:
        ...         print(await AsyncClient(transport=transport).ask("Hello"))
        >>> asyncio.run(main())
        Reply(text='You said: Hello', ...)
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

    async def open(self, request: Request, limits: Limits) -> AsyncResponse:
        """Send ``request`` and return its response once the head has come.

        Raises:
            TransportFailure: whatever went wrong with it.
            InvalidArgumentError: no asyncio event loop is running.
        """
        if _running_loop() is None:
            raise InvalidArgumentError("transport", "runs on asyncio only: on trio leave it out, or use httpx's")
        if self._bound_elsewhere():
            raise TransportFailure(FailureKind.BOUND, _ELSEWHERE)
        self._check_open()
        progress = Progress(limits, Clock())
        limits.wake = progress.clock.end
        try:
            await self._take_slot(progress)
            try:
                response = await self._send(request, progress)
                opened = _Response(response, progress, self)
            except BaseException:
                self._slots.release()
                raise
        except BaseException:
            progress.clock.cancel()
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
        """Close every connection, unless they are those of a connector that was given to us.

        Raises:
            ClientBoundError: they are those of another event loop or process.
        """
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

    async def _take_slot(self, progress: Progress) -> None:
        with contextlib.suppress(anyio.WouldBlock):
            self._slots.acquire_nowait()
            return
        try:
            await self._unless_closed(self._slots.acquire(), progress)
        except TimeoutError:
            raise TransportFailure(FailureKind.CLOSED if self.closed else FailureKind.POOL_TIMEOUT) from None

    async def _send(self, request: Request, progress: Progress) -> aiohttp.ClientResponse:
        self._check_open()
        session, url = self._make_session(), _to_url(request.url)
        task = asyncio.current_task()
        sending[task] = progress
        try:
            call = session.request(
                request.method,
                url,
                data=request.body if len(request.body) < _LARGE else BytesIO(request.body),
                headers=request.headers,
                proxy=self._proxy_for(url),
                allow_redirects=False,
            )
            return await self._unless_closed(call, progress)
        except _RAISED as error:
            failure = TransportFailure(FailureKind.CLOSED) if self.closed else _failure(error, progress)
            raise failure from _shown(error)
        finally:
            del sending[task]

    async def _unless_closed(self, call: Coroutine[Any, Any, _T], progress: Progress) -> _T:
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
            clock.expire = nobody_waits
            self._opening.discard(timeout)

    def _make_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = self._connector or aiohttp.TCPConnector(limit=0)  # the slots are the limit
            if hasattr(connector, "_factory"):  # aiohttp has no public way to say it
                connector._factory = functools.partial(Protocol, asyncio.get_running_loop())  # type: ignore[assignment]  # noqa: SLF001
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


@lru_cache(maxsize=8)
def _version(version: aiohttp.HttpVersion | None) -> str:
    return "" if version is None else f"HTTP/{version.major}.{version.minor}"


def _is_framed(response: aiohttp.ClientResponse) -> bool:
    """Tell whether we know where the body ends: aiohttp's lenient parser takes what it does not know for text."""
    codings = response.headers.getall("Transfer-Encoding", [])
    return all(coding.strip().lower() == "chunked" for coding in codings)


def _failure(error: BaseException, progress: Progress) -> TransportFailure:
    kind = _kind_of(error, progress)
    # What is no HTTP is quoted by the parser, and a server may echo the request in it.
    return TransportFailure(kind, "" if kind is FailureKind.MALFORMED else _detail(error))


def _kind_of(error: BaseException, progress: Progress) -> FailureKind:
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
