"""The blocking transport over httpx or httpx2."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any

import httpx

from ...core.failure import FailureKind, TransportFailure
from ...core.limits import Limits
from ...core.request import Request
from ...forking import in_every_child
from ..base import Response
from .connections import Connections
from .library import (
    FORKED,
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
from .pool import harden, reclaim
from .slots import Slots
from .wire import Tap, Wire, observe, opening


def _read(stream: Any, library: ModuleType, wire: Wire, ended_by: str) -> Generator[bytes]:
    with translating(library, wire):
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
        self.head = head_of(response)
        stream = [response.content] if has_been_read(response) else response.stream
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
        ignored, whole = contextlib.suppress(*caught(self._library)), False
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
            self._transport.settle(self._wire, whole=whole)
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

    Example:
        >>> from aichatfree_sdk.transports.httpx import HttpxTransport
        >>> transport = HttpxTransport(max_connections=10)
        >>> Client(transport=transport).ask("Hello").text
        'You said: Hello'
        >>> transport.close()
    """

    def __init__(self, http_client: object = None, *, proxy: str | None = None, max_connections: int = 100) -> None:
        self._owned = http_client is None
        self._make = functools.partial(make_client, httpx.Client, Connections, proxy, max_connections)
        # A client that was given to us may have more connections than we are told, or over HTTP/2 need fewer.
        self._make_slots = functools.partial(Slots, max_connections) if self._owned else Slots
        if http_client is None:
            http_client = self._make()
        self._library = check_client(http_client, "Client")
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

    def open(self, request: Request, limits: Limits) -> Response:
        """Send ``request`` and return its response once the head has come.

        Raises:
            TransportFailure: whatever went wrong with it.
        """
        self.slots.check_open()
        self._check_process()
        wire = Wire(limits, host_of(request), blocking=True)
        opened: _Response | None = None
        try:
            limits.wake = self.slots.wake
            self._close_lost()
            self.slots.take(wire)
            limits.wake = wire.hang_up
            self._close_lost()  # once more: what was waited for may have been dropped
            if self._client.is_closed:
                raise TransportFailure(FailureKind.CLOSED)
            with translating(self._library, wire):
                opened = _Response(self._send(request, wire), self._library, wire, self)
            if self._client.is_closed:  # since we looked; its pool would let the connection live
                raise TransportFailure(FailureKind.CLOSED)
            if wire.unasked:
                raise TransportFailure(FailureKind.STALE, UNASKED)
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
            if self._owned:
                # What httpx's client does besides is nobody's wish here (cookies, authentication, its own log), and a
                # fifth of what a request costs.
                own = own_request(request, wire, self._tracer(wire))
                return self._client._transport_for_url(own.url).handle_request(own)  # noqa: SLF001
            built = self._client.build_request(**client_request(request, wire, self._tracer(wire)))
            return self._client.send(built, stream=True, follow_redirects=False)
        finally:
            opening.reset(token)

    def _give_up(self, wire: Wire) -> None:
        """Close what a request that came to no response has left open."""
        try:
            if wire.unfinished:
                with contextlib.suppress(*caught(self._library)):
                    wire.stream.close()
        finally:
            try:
                self.settle(wire, whole=False)
            finally:
                self.release(wire)

    def settle(self, wire: Wire, *, whole: bool) -> None:
        """Close what a request that was not read to its end has left open; the connection of a whole answer is kept."""
        with contextlib.suppress(*caught(self._library)):
            if wire.pool is not None:
                wire.pool.settle(wire, whole=whole)
            elif not whole:
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
                    raise TransportFailure(FailureKind.BOUND, FORKED)
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
