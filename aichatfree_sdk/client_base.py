"""What both clients and both streams share: all of it that does not wait.

A client turns arguments into work. A stream drives the work's exchange and, at the end, commits or interrupts the work,
once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Generic, NoReturn, Self, TypeVar

from .config import DEFAULT_MODEL, Settings, Timeout, check_proxy, configure_logging, to_headers
from .conversation import Conversation, Prompt, to_messages
from .core.actions import Finish, StartAttempt
from .core.decoder import FAILURE_TRAILER, MAX_REPLY_BYTES
from .core.exchange import Exchange
from .core.limits import Limits
from .core.request import Request, check_question
from .core.response import ResponseHead
from .core.retry import RetryBudget, RetryPolicy
from .errors import AIChatFreeError, ClientClosedError, InvalidArgumentError, UnsupportedModelError
from .reply import Reply
from .validation import check_count
from .work import AnswerWork, Work

_logger = logging.getLogger("aichatfree_sdk")
_TransportT = TypeVar("_TransportT")


def _check_pool_arguments(
    max_connections: int, proxy: str | None, transport: object | None, http_client: object | None
) -> None:
    """Raise InvalidArgumentError where the arguments contradict each other."""
    check_count("max_connections", max_connections, minimum=1)
    if transport is not None and not callable(getattr(transport, "open", None)):
        raise InvalidArgumentError(
            "transport", f"must have the methods of aichatfree_sdk.transports.base, not be a {type(transport).__name__}"
        )
    if transport is not None and http_client is not None:
        raise InvalidArgumentError("transport", "cannot be given together with http_client=")
    if proxy is not None:
        check_proxy(proxy)
        if transport is not None or http_client is not None:
            raise InvalidArgumentError(
                "proxy", "cannot be given together with transport= or http_client=: set it there"
            )


class BaseClient(Generic[_TransportT]):
    """The arguments of a client, checked, and the work that calls turn into."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        password: str | None = None,
        secret: str | None = None,
        model: str = DEFAULT_MODEL,
        timeout: Timeout | float | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        max_connections: int = 100,
        failure_trailer: str | None = FAILURE_TRAILER,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        transport: _TransportT | None = None,
        http_client: Any = None,
    ) -> None:
        self._settings = Settings.create(
            base_url,
            password=password,
            secret=secret,
            model=model,
            timeout=timeout,
            retry=retry,
            headers=headers,
            failure_trailer=failure_trailer,
            max_reply_bytes=max_reply_bytes,
        )
        _check_pool_arguments(max_connections, proxy, transport, http_client)
        configure_logging()
        self._owns_transport = transport is None  # what we were given is not ours to close
        if transport is None:
            transport = self._make_transport(http_client, proxy, max_connections)
        self._transport = transport
        self._budget = RetryBudget()
        self._parent: Self | None = None  # whose pool this client shares
        self._closed = False

    @staticmethod
    def _make_transport(http_client: Any, proxy: str | None, max_connections: int) -> _TransportT:
        raise NotImplementedError

    @property
    def settings(self) -> Settings:
        """What the client was told; its repr masks the secrets."""
        return self._settings

    @property
    def closed(self) -> bool:
        """True once the client, or the one whose pool it shares, was closed."""
        return self._closed or (self._parent is not None and self._parent.closed)

    def with_options(self, **changes: Any) -> Self:
        """Return a client with other options that shares this one's connections and retry budget.

        Closing the new client leaves the pool open; closing this one closes it for both.

        Args:
            changes: any of ``base_url``, ``password``, ``secret``, ``model``, ``timeout``, ``retry``, ``headers``,
                ``failure_trailer`` and ``max_reply_bytes``.

        Raises:
            InvalidArgumentError: an option is unknown, or its value is not allowed.
            ClientClosedError: this client is closed.

        Example:
            >>> with Client() as client:
            ...     client.with_options(timeout=30).settings.timeout.total
            30.0
        """
        self._check_open()
        new = {"_settings": self._settings.change(**changes), "_parent": self, "_owns_transport": False}
        client = object.__new__(type(self))
        # In one step: one that has no parent yet would, dropped by a Ctrl-C, close the pool with it.
        vars(client).update(vars(self) | new)
        return client

    def _check_open(self) -> None:
        if self.closed:
            raise ClientClosedError("the client is closed: make a new one")

    def _answer_work(
        self,
        prompt: Prompt,
        conversation: Conversation | None,
        model: str | None,
        timeout: Timeout | float | None,
        retry: RetryPolicy | None,
        headers: Mapping[str, str] | None,
        *,
        keep_text: bool = True,
    ) -> AnswerWork:
        self._check_open()
        question = to_messages("prompt", prompt)
        check_question(question)
        if conversation is not None:
            if not isinstance(conversation, Conversation):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidArgumentError("conversation", f"must be a Conversation, not {type(conversation).__name__}")
            if not keep_text:
                raise InvalidArgumentError("keep_text", "cannot be False where a conversation is to keep the answer")
        if model is not None and model != self._settings.model:
            raise UnsupportedModelError(
                "model",
                f"this client's deployment serves {self._settings.model!r} and the protocol cannot ask for {model!r}: "
                "leave model out, or make a client for a deployment that serves it",
            )
        settings = self._settings
        if timeout is not None or retry is not None:
            settings = settings.change(timeout=timeout, retry=retry)
        turn = None if conversation is None else conversation.prepare(question)
        return AnswerWork(settings, self._budget, question, turn, to_headers(headers), keep_text)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._settings.base_url}{', closed' if self.closed else ''}>"


class BaseStream:
    """One answer on its way: where its exchange is, and what the user sees of it."""

    _exchange: Exchange | None = None  # for the finalizer of one that a Ctrl-C has kept from being made

    def __init__(self, client: object, work: Work) -> None:
        self._client = client  # a stream keeps its client, and so its connection, alive
        self._work = work
        self._exchange = None
        self._finished: Finish | None = None
        self._error: AIChatFreeError | None = None
        self._limits: Limits | None = None  # of the attempt that is under way
        self._ended = False
        self._closing = False
        self._reading = False  # somebody is inside next()

    @property
    def text(self) -> str:
        """The text that has come so far; ``""`` with ``keep_text=False``."""
        return "" if self._exchange is None else self._exchange.text

    @property
    def reply(self) -> Reply:
        """The finished answer.

        Raises:
            AIChatFreeError: the error that ended the stream; or one that says that it has not ended yet.
        """
        if self._finished is not None:
            return self._finished.reply
        if self._error is not None:
            raise self._error
        if self._ended:
            raise AIChatFreeError("the stream was closed before it began: there is no reply")
        raise AIChatFreeError("the stream has not ended yet: read it to its end before asking for its reply")

    def _begin(self) -> Exchange:
        if self._exchange is None:
            self._exchange = self._work.begin()
        return self._exchange

    def _finish(self, action: Finish) -> None:
        # The flag comes last: a Ctrl-C in here leaves work for the winding up, not a conversation that stays busy.
        self._work.commit(action)
        self._finished = action
        self._ended = True
        _logger.debug("answer complete")

    def _fail(self, error: AIChatFreeError) -> None:
        self._work.interrupt(self.text)
        self._error = error
        self._ended = True
        _logger.debug("answer failed: %s", type(error).__name__)

    def _interrupt(self) -> None:
        """End the work of a stream that did not come to an end of its own."""
        if not self._ended:
            self._work.interrupt(self.text)
            self._ended = True

    def _log_attempt(self, action: StartAttempt) -> None:
        if action.cause is not None:
            _logger.info("attempt %d in %.2f s, after %s", action.number, action.delay, type(action.cause).__name__)

    def _log_request(self, request: Request) -> None:
        _logger.debug("%s %s, %d bytes", request.method, request.url, len(request.body))

    def _log_response(self, head: ResponseHead) -> None:
        _logger.debug("answered %d, %s, ended by %s", head.status, head.http_version, head.ended_by)

    def _refuse_reader(self) -> NoReturn:
        raise RuntimeError("this stream is being read by somebody else: one stream has one reader")

    @property
    def _abandoned(self) -> bool:
        """True where the connection may still be open and nobody is left to close it."""
        return self._exchange is not None and not self._ended

    def __repr__(self) -> str:
        state = "ended" if self._ended else "not begun" if self._exchange is None else self._exchange.state.value
        return f"<{type(self).__name__}, {state}, {len(self.text)} characters so far>"
