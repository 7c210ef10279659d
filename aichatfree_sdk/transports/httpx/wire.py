"""One request, as the connection that it travels on has to know it: the taps on httpcore's network streams.

httpx reads its read timeout once at the start of a body, but an answer has two clocks that follow each other (first
text, then idle) and perhaps a third over all of it. So every connection that a request opens is tapped: the documented
``trace`` extension hands us its network stream, and the stream's ``read`` and ``write`` from then on ask the request's
`Limits` how long they may wait. The same tap sees whether any byte of a response came, which tells a kept-alive
connection that was dead from one that died answering, and keeps the last raw read, which tells a piece of a chunk that
the network cut from a whole one: httpx hands both over alike.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from typing import Any

import anyio
from attrs import define, field

from ...core.decoder import Cut
from ...core.failure import FailureKind, TransportFailure
from ...core.limits import Limits
from ...forking import in_every_child

# How much is sent between two looks at the clock: one send of the operating system's, whose timeout httpx renews.
_PIECE = 65_536

_process = os.getpid()  # to look it up here costs a tenth of a call of the operating system


@in_every_child
def _note_process() -> None:
    global _process  # noqa: PLW0603 - it is another one
    _process = os.getpid()


@define(eq=False, repr=False)  # what it has read may repeat what was sent
class Wire:
    """One request, as the connection that it travels on has to know it.

    Attributes:
        limits: how long its waits may last.
        host: where it is to go.
        blocking: whether a thread waits, not a task.
        process: who opened it.
        peer: who is being connected to, as host:port.
        fresh: the connection was opened for this request.
        sent: it got as far as a connection to whom it is for: a proxy's CONNECT is a part of connecting.
        alone: it has that connection for itself: HTTP/1.
        pool: the connections of a client of our own, of which it has one.
        connection: that one, until it is settled what becomes of it.
        doomed: it is to be closed, even if httpcore takes it for idle.
        stream: the network stream that was opened for it, or that it was written to.
        tap: the tap on that stream, if the response is read through it.
        tapped: we can tell whether a byte of the response came.
        received: one came.
        raw: what the last read from the network brought.
        reads: how many there were since the last piece of a chunk.
        last: that piece.
        cut: it was the end of its read.
        scope: what to cancel so that a task stops waiting that no tap wakes.
        closing: the client is being closed.
        unread: whoever read the response was ended before it.
        ended: the body came to its end.
        body: what reads the body. The garbage collector would end it in the middle of anything, of what httpcore does
            under its lock too, so it is held here until the request is over.
        give_up: a weak reference to what closes the response.
    """

    limits: Limits
    host: str
    blocking: bool
    process: int = field(factory=lambda: _process)
    peer: str = ""
    fresh: bool = False
    sent: bool = False
    alone: bool = False
    pool: Any = None
    connection: Any = None
    doomed: bool = False
    stream: Any = None
    tap: Tap | None = None
    tapped: bool = False
    received: bool = False
    raw: bytes = b""
    reads: int = 0
    last: bytes = b""
    cut: bool = False
    scope: anyio.CancelScope | None = None
    closing: bool = False
    unread: bool = False
    ended: bool = False
    body: object = None
    give_up: Callable[[], Callable[[], Coroutine[Any, Any, None]] | None] = lambda: None

    def wake(self) -> None:
        """End the wait of a task that no tap wakes."""
        if self.scope is not None:
            self.scope.cancel()

    def wait(self) -> float | None:
        """Return how many seconds a wait for the network that begins now may take; None is for ever."""
        return self.limits.wait() if self.sent else self.limits.connect_wait()

    @property
    def inherited(self) -> bool:
        """True in a forked child of who opened it: both have the connection, and what comes is the parent's."""
        return self.process != _process

    def check_process(self) -> None:
        """Raise TransportFailure in a forked child of who opened it."""
        if self.process != _process:
            raise TransportFailure(FailureKind.BOUND, "its answer is that of the process that this one was forked from")

    def attach(self, response: Any) -> None:
        """Note whether the response's connection is a tapped one, which follows the limits."""
        tap = getattr(response.extensions.get("network_stream"), "read", None)
        if isinstance(tap, Tap) and tap.wire is self:
            self.tap = tap

    def pieces(self, chunk: bytes) -> Iterable[bytes]:
        """Return ``chunk``, marked where the network has cut it or may have: nothing came behind it, not even its CRLF.

        The next read then tells: it begins with the rest, or the chunk had ended, which an empty piece says.
        """
        # The rest of a chunk is the beginning of the one read behind it. Of a read that has more than one piece, only
        # the first can be such a rest, and only the last be cut, whatever the others end with.
        ended = self.cut and (self.reads != 1 or not self.raw.startswith(chunk))
        self.cut = self.raw.endswith(chunk)
        self.reads = 0
        self.last = chunk
        if ended:
            return (b"", Cut(chunk) if self.cut else chunk)
        return (Cut(chunk),) if self.cut else (chunk,)

    def end(self, ended_by: str) -> None:
        """Note the end of the body, and see to it that no byte behind it is taken for the next request's answer.

        h11 keeps what was read behind an answer, and httpx uses the connection again. What slips through here ends
        with a blank line, at which h11 makes up its mind without another read: see `unasked` and `stale`.
        """
        clean = b"\r\n\r\n".endswith(self.raw[-4:])
        if ended_by == "length" and self.last:
            alone = self.raw == self.last or self.raw.endswith((b"\n\r\n" + self.last, b"\n\n" + self.last))
            clean = alone and not self.reads
        self.ended = True
        self.doomed = ended_by == "close" or not clean
        if not clean:
            self.hang_up()  # the pool finds the connection dead when it looks at it next

    @property
    def unasked(self) -> bool:
        """True of a response that was there before its request: bytes that came behind an earlier answer.

        Over HTTP/2 it may have been read for another request.
        """
        return self.alone and self._silent

    def proxy_note(self, kind: FailureKind) -> str:
        """Return what to add to a failure to connect: that it was to a proxy, where it was."""
        connecting = kind in (FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT)
        direct = not self.peer or self.peer.rpartition(":")[0] == self.host
        return "" if direct or not connecting else f", at the proxy {self.peer}"

    def detach(self) -> None:
        """Leave the connection to the next request, which may have it already."""
        tap, self.tap = self.tap, None
        if tap is not None and not self.inherited:
            with tap.lock:
                if tap.wire is self:
                    tap.wire = None
        self.stream = self.body = None

    def hang_up(self) -> None:
        """End the connection, and the wait for it in another thread: closing its socket would wake nobody."""
        stream: Any = self.stream  # another thread may take it away
        if stream is None or not self.alone or self.inherited:
            return
        with stream.read.lock:
            if stream.read.wire is self or not self.sent:  # else it is another request's by now
                _shut_down(stream.get_extra_info("socket"))

    @property
    def connecting(self) -> bool:
        """True while a connection is being made for the request."""
        return bool(self.peer) and not self.sent

    @property
    def unfinished(self) -> bool:
        """True of a connection that httpcore leaves open when its TLS handshake is interrupted or cancelled."""
        return self.connecting and self.stream is not None

    @property
    def stale(self) -> bool:
        """True where a kept-alive connection was dead before a byte of the response came."""
        return self.sent and self._silent

    @property
    def _silent(self) -> bool:
        return self.tapped and not self.fresh and not self.received


def _shut_down(sock: Any) -> None:
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            # Not SSLSocket's own, which would take TLS off before the reader is out of it.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        elif sock is not None:
            # uvloop's, for one, has no shutdown of its own.
            with socket.socket(fileno=os.dup(sock.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)


# The request that is on its way in this thread or task: a pooled connection cannot know it in another way.
opening: ContextVar[Wire | None] = ContextVar("opening", default=None)


def compact(raw: bytes) -> bytes:
    """Return a copy of what was read: the operating system wrote it to the beginning of 64 KiB, which it would pin."""
    return bytes(memoryview(raw))


@define(eq=False, repr=False)
class Tap:
    """Stands in for the ``read`` of a network stream: blocking.

    Attributes:
        read: the stream's own.
        wire: the request that has the connection for itself.
        lock: held while that changes, or the connection is ended for its sake; a finalizer may do so at any moment.
    """

    read: Callable[..., Any]
    wire: Wire | None = field(default=None, init=False)
    lock: threading.RLock = field(factory=threading.RLock, init=False)

    def __call__(self, max_bytes: int, timeout: float | None = None) -> Any:  # noqa: D102 - it is httpcore's read()
        wire = self.wire or opening.get()
        if wire is None or not wire.alone:  # over HTTP/2 whoever reads does so for all
            return self.read(max_bytes, timeout)
        if wire.limits.expired:
            raise TransportFailure(FailureKind.CLOSED if wire.closing else FailureKind.TIMEOUT)
        return self.read_for(wire, max_bytes)

    def read_for(self, wire: Wire, max_bytes: int) -> Any:
        """Read for a request, as long as its limits allow."""
        wire.raw = compact(self.read(max_bytes, wire.wait()))
        wire.reads += 1
        wire.received = wire.received or bool(wire.raw)
        return wire.raw


def _tapped_write(stream: Any) -> Callable[..., Any]:
    write = stream.write

    def tapped(buffer: bytes, timeout: float | None = None) -> Any:
        wire = opening.get()
        if wire is None:
            return write(buffer, timeout)
        wire.tapped, wire.stream = True, stream
        if wire.sent and wire.alone and stream.read.wire is not wire:
            with stream.read.lock:
                stream.read.wire = wire
        if wire.blocking:
            for start in range(0, len(buffer), _PIECE):
                write(buffer[start : start + _PIECE], wire.wait())
            return None
        return write(buffer, wire.wait())

    return tapped


def _tapped_info(stream: Any) -> Callable[[str], Any]:
    get_extra_info = stream.get_extra_info

    def tapped(info: str) -> Any:
        value, wire = get_extra_info(info), stream.read.wire
        # A pool that looks whether an idle connection has been hung up may do so while another thread, which was given
        # it, begins to use it: it would take the answer for the end, and close it. So the second look is the later one.
        in_use = wire is not None and not wire.ended
        return False if info == "is_readable" and in_use else value

    return tapped


def observe(wire: Wire, tap: type[Tap], event: str, info: dict[str, Any]) -> None:
    """Follow httpcore's ``trace`` extension (https://www.encode.io/httpcore/extensions/#trace)."""
    if event.endswith(("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")):
        wire.fresh = wire.alone = True
        wire.stream = stream = info["return_value"]
        stream.read = tap(stream.read)
        stream.write = _tapped_write(stream)
        stream.get_extra_info = _tapped_info(stream)
    elif event.endswith(("connect_tcp.started", "start_tls.started")):
        # These are the very arguments of what starts now: time was spent since httpx was told, on a free connection.
        info["timeout"] = wire.limits.connect_wait()
        wire.peer = f"{info['host']}:{info['port']}" if "host" in info else wire.peer
    elif event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
        wire.sent, wire.alone = True, event.startswith("http11.")
