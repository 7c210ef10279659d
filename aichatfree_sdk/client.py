"""The blocking client: a thin driver of the exchange."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from .client_base import BaseClient, BaseStream
from .config import Timeout
from .conversation import Conversation, Prompt
from .core.actions import CloseResponse, Fail, Finish, SendRequest, StartAttempt
from .core.exchange import Exchange
from .core.response import parse_password_reply
from .core.retry import RetryPolicy
from .errors import AIChatFreeError
from .reply import Reply
from .transports.base import Response, Transport, TransportFailure
from .work import PasswordWork, Work


class Stream(BaseStream):
    """An answer on its way: an iterator of str deltas and a context manager.

    It sends when it is entered or first read. It ends by itself, with the connection given back; leaving the ``with``
    block, `close`, or an exception ends it earlier, with the connection dropped.

    Example:
        >>> with Client() as client, client.stream("Hello") as stream:
        ...     for delta in stream:
        ...         print(repr(delta))
        'You said: '
        'Hello'
        >>> stream
        <Stream, ended, 15 characters so far>
    """

    def __init__(self, client: object, transport: Transport, work: Work) -> None:
        super().__init__(client, work)
        self._transport = transport
        self._response: Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._winding_up = threading.RLock()
        self._wake = threading.Event()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self._reading:
            self._refuse_reader()
        self._reading = True
        try:
            if self._closing:
                self._wind_up()
            while not self._ended:
                exchange = self._exchange or self._begin()
                text = self._read(exchange) if exchange.reading else self._step(exchange)
                if text:
                    return text
        except BaseException:
            self._wind_up()
            raise
        finally:
            self._reading = False
        raise StopIteration

    def drain(self) -> Reply:
        """Read the rest of the answer and return the finished `Reply`.

        Raises:
            AIChatFreeError: the error that ends the stream.
            RuntimeError: somebody else is reading it.

        Example:
            >>> Client().stream("Hello").drain().text
            'You said: Hello'
        """
        for _ in self:
            pass
        return self.reply

    def close(self) -> None:
        """End the stream; it may be called again, and from another thread.

        A reader in another thread gets an error at once; where it is still connecting, when that has ended.
        """
        if self._finished is not None:  # it has ended, and nothing is open
            return
        # The reader sets _reading and then looks at _closing; this sets _closing and then looks at _reading. So at
        # least one of the two sees the other, and the reader, if there is one, does the work.
        self._closing = True
        if not self._reading:
            self._wind_up()
            return
        self._wake.set()
        if self._limits is not None:
            self._limits.expire()
        if self._response is not None:
            self._response.close()

    def _read(self, exchange: Exchange) -> str:
        try:
            # Closed before there was anything to read: nothing would wake a read that begins now.
            for chunk in () if self._closing else self._chunks:
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

    def _step(self, exchange: Exchange) -> str:
        if self._closing:
            exchange.abandon()
        action = exchange.action
        if isinstance(action, StartAttempt):
            self._log_attempt(action)
            self._pause(action.delay)
            exchange.attempt_started(time_ms=time.time_ns() // 1_000_000, jitter=random.random())  # noqa: S311
        elif isinstance(action, SendRequest):
            self._send(exchange, action)
        elif isinstance(action, CloseResponse):
            try:
                self._close_response()
            finally:
                exchange.closed()
        elif isinstance(action, Finish):
            self._finish(action)
        elif isinstance(action, Fail):
            self._fail(action.error)
            raise action.error
        return ""

    def _pause(self, seconds: float) -> None:
        # In slices, as Python does not see a Ctrl-C that comes at the very beginning of a wait before its end; nor any,
        # on Windows (https://github.com/python/cpython/issues/125541, mended in 3.14).
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._wake.wait(min(left, 1)):
            pass

    def _send(self, exchange: Exchange, action: SendRequest) -> None:
        self._log_request(action.request)
        self._limits = action.limits
        if self._closing:  # by another thread, which did not find the limits yet
            self._limits.expire()
        try:
            self._response = self._transport.open(action.request, action.limits)
        except TransportFailure as failure:
            if not self._closing:
                exchange.transport_failed(failure)
        else:
            self._log_response(self._response.head)
            self._chunks = self._response.chunks
            exchange.response_started(self._response.head)

    def _wind_up(self) -> None:
        """Bring the stream to its end from wherever it is; only what a foreign transport's closing raises gets out."""
        with self._winding_up:
            try:
                if self._exchange is not None:
                    self._exchange.abandon()
                    while not self._ended:
                        with contextlib.suppress(AIChatFreeError):
                            self._step(self._exchange)
                    self._close_response()  # a Ctrl-C may have struck before the exchange knew of it
            finally:
                self._interrupt()

    def _close_response(self) -> None:
        if self._response is not None:
            with contextlib.suppress(TransportFailure):  # the outcome stands, and there is nothing left to save
                self._response.close()

    def __enter__(self) -> Self:
        if self._reading:
            self._refuse_reader()
        self._reading = True
        try:
            while not (self._ended or (exchange := self._begin()).answering):
                if exchange.reading:
                    self._read(exchange)
                else:
                    self._step(exchange)
        except BaseException:
            self._wind_up()
            raise
        finally:
            self._reading = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._abandoned:
            # The transport hangs up as soon as nobody holds its response; the next request then closes it.
            self._work.interrupt(self.text)
            message = f"{self!r} was dropped unclosed: use it in a with block"
            warnings.warn(message, ResourceWarning, stacklevel=1, source=self)


class Client(BaseClient[Transport]):
    """A blocking client of one deployment; threads may share it.

    Args:
        base_url: where the deployment is; else AICHATFREE_BASE_URL, else ``https://aichatfree.info``.
        password: the site password; else AICHATFREE_PASSWORD.
        secret: the key that requests are signed with; else AICHATFREE_SECRET, else ``""`` as on the public site.
        model: what the deployment serves; the protocol has no field for it.
        timeout: a `Timeout`, or a number of seconds for the whole call.
        retry: which failures are tried again, and how.
        headers: headers of every request; they beat the SDK's own.
        proxy: the URL of an HTTP or SOCKS proxy. Without it, the usual environment variables hold.
        max_connections: how many streams may be open at once.
        failure_trailer: the chunk that ends a failed answer; None takes every chunk as text.
        max_reply_bytes: the longest answer taken, in bytes; 128 MiB unless given.
        transport: a `Transport` to use instead of httpx; it stays yours to close.
        http_client: an ``httpx.Client`` or ``httpx2.Client`` to use; it stays yours to close.

    Raises:
        InvalidArgumentError: an argument, or an environment variable, is not of its kind.

    Example:
        >>> with Client(timeout=30) as client:
        ...     client.ask("Hello").text
        'You said: Hello'
    """

    @staticmethod
    def _make_transport(http_client: Any, proxy: str | None, max_connections: int) -> Transport:
        # Here, so that `import aichatfree_sdk` does not pay for an HTTP library.
        from .transports.httpx import HttpxTransport

        return HttpxTransport(http_client, proxy=proxy, max_connections=max_connections)

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
    ) -> Stream:
        """Return the answer to ``prompt`` as a `Stream` of str deltas; nothing is sent until it is entered or read.

        Args:
            prompt: a str, a `Message`, or a sequence of `Message` or ``{"role", "content"}``, the last the user's.
            conversation: the history to continue; it takes the turn once the answer is complete.
            model: must be the client's; another one raises instead of being ignored.
            timeout: a `Timeout`, or a number of seconds for the whole call; None keeps the client's.
            retry: None keeps the client's.
            headers: headers for this call; they beat the client's.
            keep_text: False keeps nothing of the answer, however long: ``text``, the reply's ``text`` and an error's
                ``partial_text`` stay empty. Not with a conversation, which keeps it.

        Raises:
            InvalidArgumentError: an argument cannot be sent.
            UnsupportedModelError: ``model`` is not the client's.
            ClientClosedError: the client is closed.

        Entering and reading the stream raise the other errors of `aichatfree_sdk.errors`.

        Example:
            >>> for delta in Client().stream("Hello"):
            ...     print(delta, end="")
            You said: Hello
        """
        work = self._answer_work(prompt, conversation, model, timeout, retry, headers, keep_text=keep_text)
        return Stream(self, self._transport, work)

    def ask(
        self,
        prompt: Prompt,
        *,
        conversation: Conversation | None = None,
        model: str | None = None,
        timeout: Timeout | float | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return the whole answer to ``prompt``; the arguments are those of `stream`.

        Raises:
            AIChatFreeError: what `stream` raises, and what entering and reading it do.

        Example:
            >>> Client().ask("Hello").text
            'You said: Hello'
        """
        with self.stream(
            prompt, conversation=conversation, model=model, timeout=timeout, retry=retry, headers=headers
        ) as stream:
            return stream.drain()

    def check_password(self) -> bool:
        """Return whether the deployment takes the client's password (or needs none).

        Raises:
            AIChatFreeError: the deployment did not answer as an AIChatFree server does.

        Example:
            >>> Client(password="open sesame").check_password()
            True
        """
        self._check_open()
        with Stream(self, self._transport, PasswordWork(self._settings, self._budget)) as stream:
            return parse_password_reply(stream.drain().text)

    def close(self) -> None:
        """Close the connections; it may be called again.

        A stream that another thread still reads ends with an error. A transport or HTTP client that was given to this
        client is left open, and such streams with it.
        """
        self._closed = True
        if self._owns_transport:
            self._transport.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # _closed is the last thing that a constructor sets; one that raised has made nothing to close.
        if not getattr(self, "_closed", True):
            self.close()
