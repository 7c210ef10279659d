"""The async client for asyncio and trio: a thin driver of the exchange."""

from __future__ import annotations

import contextlib
import random
import time
import warnings
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import anyio

from .cancellation import apart
from .client_base import BaseClient, BaseStream
from .config import Timeout
from .conversation import Conversation, Prompt
from .core.actions import CloseResponse, Fail, Finish, SendRequest, StartAttempt
from .core.exchange import Exchange
from .core.response import parse_password_reply
from .core.retry import RetryPolicy
from .errors import AIChatFreeError
from .reply import Reply
from .transports.base import AsyncResponse, AsyncTransport, TransportFailure
from .work import PasswordWork, Work


class AsyncStream(BaseStream):
    """An answer on its way: an async iterator of str deltas and an async context manager.

    It sends when it is entered or first read. It ends by itself, with the connection given back; leaving the
    ``async with`` block, `aclose`, cancellation or an exception ends it earlier, with the connection dropped.

    Example:
        >>> import asyncio
        >>> async def main():
        ...     async with AsyncClient() as client, client.stream("Hello") as stream:
        ...         async for delta in stream:
        ...             print(repr(delta))
        ...     print(stream)
        >>> asyncio.run(main())
        'You said: '
        'Hello'
        <AsyncStream, ended, 15 characters so far>
    """

    def __init__(self, client: object, transport: AsyncTransport, work: Work) -> None:
        super().__init__(client, work)
        self._transport = transport
        self._response: AsyncResponse | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._scope: anyio.CancelScope | None = None  # around the wait before a retry
        self._winding_up: anyio.Lock | None = None  # most streams need neither
        self._reader_left: anyio.Event | None = None  # set by a reader that finds the stream closing

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self._reading:
            self._refuse_reader()
        self._reading = True
        try:
            if self._closing:
                await self._wind_up()
            while not self._ended:
                exchange = self._exchange or self._begin()
                text = await self._read(exchange) if exchange.reading else await self._step(exchange)
                if text:
                    return text
        except BaseException:
            await self._wind_up()
            raise
        finally:
            self._leave()
        raise StopAsyncIteration

    async def drain(self) -> Reply:
        """Read the rest of the answer and return the finished `Reply`.

        Raises:
            AIChatFreeError: the error that ends the stream.
            RuntimeError: somebody else is reading it.
        """
        async for _ in self:
            pass
        return self.reply

    async def aclose(self) -> None:
        """End the stream; it may be called again, and from another task, whose reader then gets an error.

        Once it returns, the connection and the conversation are free.
        """
        if self._finished is not None:  # it has ended, and nothing is open
            return
        self._closing = True
        if not self._reading:
            await self._wind_up()
            return
        if self._scope is not None:
            self._scope.cancel()
        if self._limits is not None:
            self._limits.expire()
        left = self._reader_left = self._reader_left or anyio.Event()
        await apart(self._close_response)  # wakes the reader, which does the rest
        await left.wait()

    async def _read(self, exchange: Exchange) -> str:
        assert self._chunks is not None  # noqa: S101 - the exchange reads what the transport has opened
        try:
            async for chunk in self._chunks:
                if self._closing:
                    break
                if text := exchange.feed(chunk):
                    return text
                if not exchange.reading:
                    return ""
            else:
                if not self._closing:
                    return exchange.body_ended()
        except TransportFailure as failure:
            if not self._closing:
                exchange.transport_failed(failure)
        if self._closing:
            exchange.abandon()
        return ""

    async def _step(self, exchange: Exchange) -> str:
        if self._closing:
            exchange.abandon()
        action = exchange.action
        if isinstance(action, StartAttempt):
            self._log_attempt(action)
            if action.delay:
                with anyio.CancelScope() as self._scope:
                    await anyio.sleep(action.delay)
                self._scope = None
            exchange.attempt_started(time_ms=time.time_ns() // 1_000_000, jitter=random.random())  # noqa: S311
        elif isinstance(action, SendRequest):
            await self._send(exchange, action)
            if self._closing:  # too late for the limits, and too early to close a response: nothing would wake a read
                exchange.abandon()
        elif isinstance(action, CloseResponse):
            try:
                await self._close_response()
            finally:
                exchange.closed()
        elif isinstance(action, Finish):
            self._finish(action)
        elif isinstance(action, Fail):
            self._fail(action.error)
            raise action.error
        return ""

    async def _send(self, exchange: Exchange, action: SendRequest) -> None:
        self._log_request(action.request)
        self._limits = action.limits
        try:
            self._response = await self._transport.open(action.request, action.limits)
        except TransportFailure as failure:
            if not self._closing:
                exchange.transport_failed(failure)
        else:
            self._log_response(self._response.head)
            self._chunks = self._response.chunks
            exchange.response_started(self._response.head)

    async def _wind_up(self) -> None:
        """Bring the stream to its end from wherever it is, without raising but for a cancellation of asyncio's own."""
        with anyio.CancelScope(shield=True):
            await apart(self._close_and_end)

    async def _close_and_end(self) -> None:
        self._winding_up = self._winding_up or anyio.Lock()
        async with self._winding_up:
            try:
                if self._exchange is not None:
                    self._exchange.abandon()
                    while not self._ended:
                        with contextlib.suppress(AIChatFreeError):
                            await self._step(self._exchange)
                    await self._close_response()  # a cancellation may have struck before the exchange knew of it
            finally:
                self._interrupt()

    async def _close_response(self) -> None:
        if self._response is not None:
            with contextlib.suppress(TransportFailure):  # the outcome stands, and there is nothing left to save
                await self._response.aclose()

    async def __aenter__(self) -> Self:
        if self._reading:
            self._refuse_reader()
        self._reading = True
        try:
            while not (self._ended or (exchange := self._begin()).answering):
                if exchange.reading:
                    await self._read(exchange)
                else:
                    await self._step(exchange)
        except BaseException:
            await self._wind_up()
            raise
        finally:
            self._leave()
        return self

    def _leave(self) -> None:
        self._reading = False
        if self._reader_left is not None:
            self._reader_left.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # No event loop may be running any more, so nothing is closed here but what needs none.
        if self._abandoned:
            self._work.interrupt(self.text)
            message = f"{self!r} was dropped unclosed: use it in an async with block"
            warnings.warn(message, ResourceWarning, stacklevel=1, source=self)


class AsyncClient(BaseClient[AsyncTransport]):
    """A client of one deployment for asyncio and trio; tasks of one event loop may share it.

    The arguments are those of `Client`, but for these two:

    Args:
        transport: an `AsyncTransport` to use instead of httpx; it stays yours to close.
        http_client: an ``httpx.AsyncClient`` or ``httpx2.AsyncClient`` to use; it stays yours to close, and
            ``max_connections`` must not be above its own limit.

    Raises:
        InvalidArgumentError: an argument, or an environment variable, is not of its kind.

    Example:
        >>> import asyncio
        >>> async def main():
        ...     async with AsyncClient(timeout=30) as client:
        ...         return await client.ask("Hello")
        >>> asyncio.run(main()).text
        'You said: Hello'
    """

    @staticmethod
    def _make_transport(http_client: Any, proxy: str | None, max_connections: int) -> AsyncTransport:
        # Here, so that `import aichatfree_sdk` does not pay for an HTTP library.
        from .transports.httpx import AsyncHttpxTransport

        return AsyncHttpxTransport(http_client, proxy=proxy, max_connections=max_connections)

    def stream(
        self,
        prompt: Prompt,
        *,
        conversation: Conversation | None = None,
        model: str | None = None,
        timeout: Timeout | float | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        keep_text: bool = True,
    ) -> AsyncStream:
        """Return the answer to ``prompt`` as an `AsyncStream`; the arguments are those of `Client.stream`.

        Raises:
            InvalidArgumentError: an argument cannot be sent.
            UnsupportedModelError: ``model`` is not the client's.
            ClientClosedError: the client is closed.

        Entering and reading the stream raise the other errors of `aichatfree_sdk.errors`.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     async with AsyncClient() as client, client.stream("Hello") as stream:
            ...         async for delta in stream:
            ...             print(delta, end="")
            >>> asyncio.run(main())
            You said: Hello
        """
        work = self._answer_work(prompt, conversation, model, timeout, retry, headers, keep_text=keep_text)
        return AsyncStream(self, self._transport, work)

    async def ask(
        self,
        prompt: Prompt,
        *,
        conversation: Conversation | None = None,
        model: str | None = None,
        timeout: Timeout | float | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return the whole answer to ``prompt``; the arguments are those of `Client.stream`.

        Raises:
            AIChatFreeError: what `stream` raises, and what entering and reading it do.
        """
        async with self.stream(
            prompt, conversation=conversation, model=model, timeout=timeout, retry=retry, headers=headers
        ) as stream:
            return await stream.drain()

    async def check_password(self) -> bool:
        """Return whether the deployment takes the client's password (or needs none).

        Raises:
            AIChatFreeError: the deployment did not answer as an AIChatFree server does.
        """
        self._check_open()
        async with AsyncStream(self, self._transport, PasswordWork(self._settings, self._budget)) as stream:
            return parse_password_reply((await stream.drain()).text)

    async def aclose(self) -> None:
        """Close the idle connections, and those of open streams; it may be called again.

        A transport or HTTP client that was given to this client is left open.

        Raises:
            ClientBoundError: the connections are those of another event loop or process.
        """
        self._closed = True
        if self._owns_transport:
            await apart(self._transport.aclose)

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
