"""aiohttp's connections, mended: they tell how far a request has got, and their bodies come chunk by chunk."""

from __future__ import annotations

import asyncio
import select
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from attrs import define

from ...core.decoder import Cut
from ...core.limits import Limits
from ..reading import read_less
from .clock import Clock

# How much of a body may wait to be read, in pieces and ends of chunks; aiohttp bounds its bytes.
_MOST_PIECES = 8192


@define(eq=False)
class Progress:
    """How far a request has got, as its connection sees it.

    Attributes:
        limits: how long it may wait.
        clock: what sees to it.
        sent: it has a connection.
        reused: which an earlier request had before.
        received: a byte of the response came.
    """

    limits: Limits
    clock: Clock
    sent: bool = False
    reused: bool = False
    received: bool = False

    def begin(self, *, reused: bool) -> None:
        """Note that there is a connection, on which the request is about to be sent."""
        self.sent, self.reused = True, reused
        self.clock.start(self.limits.wait())


# Which request a connection is for: it is told in the task that sends it. A ContextVar would stay in each callback's
# context, as long as the connection.
sending: dict[asyncio.Task[Any] | None, Progress] = {}


class Body(StreamReader):
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


class Protocol(ResponseHandler):
    """aiohttp's own, which also tells what it sees: aiohttp's exceptions do not."""

    _progress: Progress | None = None  # of the request whose response has not begun yet
    _ours = False
    _used = False

    def set_response_params(self, **params: Any) -> None:
        """Note that a request is about to be written, if it is not the CONNECT of a tunnel."""
        if "auto_decompress" in params:
            self._progress = progress = sending.get(asyncio.current_task())
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
            body.__class__ = Body
            Body.begin(body)  # type: ignore[arg-type]
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


def _is_readable(transport: asyncio.BaseTransport | None) -> bool:
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return False
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
