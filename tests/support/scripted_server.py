"""A server that does to each connection and each request exactly what its script says, byte for byte, on a real socket.

It is the fault server of all tests: it can be absent, deaf, slow, rude, and wrong at any byte, with TLS and without.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterable
from typing import Any, Literal, Self

import tls
from attrs import frozen


class Do(enum.Enum):
    """What a script does next to sending bytes."""

    CLOSE = "close the connection, under TLS with its farewell"
    CUT = "close the connection, under TLS without its farewell"
    RESET = "reset the connection"
    HALF_CLOSE = "say that nothing more comes, and read on until the client hangs up"
    HOLD = "send nothing more until the client hangs up"
    HALF_TLS = "answer a TLS hello with half of what belongs there, which ends in a record"
    FIRST_TLS = "answer a TLS hello with the first record of what belongs there"
    READ_CONNECT = "read a request for a tunnel"


@frozen
class Pause:
    """Send nothing for some seconds: the model thinks."""

    seconds: float


@frozen
class Take:
    """Read bytes of the request's body, or the rest of it: a script that begins so runs while it is still being sent.

    At the beginning of a connection: wait for a byte.
    """

    size: int | None = None


@frozen
class Raw:
    """Send bytes under the TLS layer."""

    data: bytes


@frozen
class StartTLS:
    """Make it a TLS connection; its bytes may go to the client one by one."""

    context: ssl.SSLContext
    trickle: bool = False


Step = bytes | Do | Pause | Take | Raw | StartTLS

TUNNEL: list[Step] = [Do.READ_CONNECT, b"HTTP/1.1 200 Connection established\r\n\r\n"]

# No wait of the server's is longer than this, so that no test hangs: whoever waits for the server sees it fail.
LONGEST = 30.0


def head(status: int = 200, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", "content-type: text/plain; charset=utf-8", *headers, "", ""]).encode()


def chunk(data: str | bytes) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = head(200, "Transfer-Encoding: chunked")
END = b"0\r\n\r\n"


def answer(*deltas: str | bytes) -> list[Step]:
    """A good answer, one chunk a delta."""
    return [CHUNKED, *(chunk(delta) for delta in deltas), END]


def whole(status: int, body: bytes | str = b"", *headers: str) -> list[Step]:
    """A response of a known length."""
    body = body.encode() if isinstance(body, str) else body
    return [head(status, f"Content-Length: {len(body)}", *headers) + body]


def cut(steps: Iterable[Step]) -> list[Step]:
    """The same bytes, sent one by one."""
    return [bytes([byte]) if isinstance(step, bytes) else step for step in steps for byte in _bytes(step)]


def _bytes(step: Step) -> Iterable[int]:
    return step if isinstance(step, bytes) else [0]


class ScriptedServer:
    """Serves on a free loopback port; each request takes the next script, whichever connection it comes on.

    Args:
        scripts: one a request.
        then: what each request gets that comes after them.
        greetings: one a connection, played before its first request is read; connections beyond them get no other
            greeting than the TLS handshake.
        tls: serves https.
        tunnel: is a proxy, and the server behind it.
        door: ``"closed"`` refuses connections and ``"full"`` does not answer them, until `open` is called.
        receive_buffer: how much the kernel may take of a request before it is read, in bytes.
    """

    def __init__(
        self,
        *scripts: Iterable[Step],
        then: Iterable[Step] | None = None,
        greetings: Iterable[Iterable[Step]] = (),
        tls: ssl.SSLContext | None = None,
        tunnel: bool = False,
        door: Literal["open", "closed", "full"] = "open",
        receive_buffer: int | None = None,
    ) -> None:
        self._scripts = itertools.chain(scripts, itertools.repeat(then) if then else ())
        usual = [*(TUNNEL if tunnel else []), *([StartTLS(tls)] if tls else [])]
        self._greetings = itertools.chain(greetings, itertools.repeat(usual))
        self._door = door
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.bind(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._played = 0  # scripts that have ended
        self.tls = tls
        self.stopping = threading.Event()
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self.requests: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.connections = 0
        self.served: list[int] = []  # for each script that was begun, the number of its connection
        self.asked = threading.Event()  # set once a request has come

    def __enter__(self) -> Self:
        if self._door == "open":
            self.open()
        elif self._door == "full":
            self._socket.listen(0)  # that is a queue for one
            self._filler = socket.create_connection(self._socket.getsockname())
        return self

    def open(self) -> None:
        """Serve from now on."""
        self._socket.listen(128)
        if self._door == "full":
            self._filler.close()
            self._socket.accept()[0].close()
        self._door = "open"
        self.start(self._accept)

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        # Wakes accept(); closing alone would not.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._door == "full":
            self._filler.close()
        self._socket.close()
        for thread in self._threads:
            thread.join(5)
        # A thread that is still there waits for a client that has not hung up: the client leaks a connection.
        assert not any(thread.is_alive() for thread in self._threads), "a connection was left open"

    def start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.start(_Connection(self, connection, self.connections).serve, next(self._greetings))

    def wait_until_begun(self, scripts: int) -> None:
        """Wait until so many scripts have been begun."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.served) >= scripts, LONGEST), "a request did not come"

    def wait_until_played(self) -> None:
        """Wait until each script that was begun has been played."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._played == len(self.served), LONGEST), "a script does not end"

    def next_script(self, head: str, connection: int) -> Iterable[Step]:
        with self._changed:
            script = next(self._scripts, None)
            self.heads.append(head)
            self.served.append(connection)
            self._changed.notify_all()
        assert script is not None, "a request that the script does not expect"
        return script

    def note_played(self) -> None:
        with self._changed:
            self._played += 1
            self._changed.notify_all()

    def note_body(self, body: bytes) -> None:
        with self._changed:
            self.requests.append(json.loads(body))
        self.asked.set()


class _Connection:
    """One connection, in a thread of its own."""

    def __init__(self, server: ScriptedServer, connection: socket.socket, number: int) -> None:
        self._server = server
        self._socket = connection
        self._number = number
        self._file: Any = None
        self._left = 0  # of the request's body
        self._body = b""

    def serve(self, greeting: Iterable[Step]) -> None:
        # The client may hang up at any time, and need not like our certificate.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            try:
                if self._play(greeting):
                    with self._socket.makefile("rb") as self._file:
                        while self._serve_request():
                            pass
            finally:
                self._socket.close()

    def _serve_request(self) -> bool:
        first = self._file.readline()
        if not first:
            return False
        lines = list(iter(self._file.readline, b"\r\n"))[:100]
        text = b"".join([first, *lines]).decode("latin-1")
        self._left = next(
            int(line.split(":")[1]) for line in text.splitlines() if line.lower().startswith("content-length")
        )
        self._body = b""
        script = iter(self._server.next_script(text, self._number))
        step = next(script, b"")
        if not isinstance(step, Take):
            self._take(None)
        try:
            goes_on = self._play(itertools.chain([step], script))
        finally:
            self._server.note_played()
        return goes_on and self._take(None)

    def _take(self, size: int | None) -> bool:
        """Read of the request's body; False if the client hung up."""
        if self._file is None:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        if self._left:
            wanted = self._left if size is None else min(size, self._left)
            data = self._file.read(wanted)
            self._body += data
            self._left -= wanted
            if len(data) < wanted:
                return False
            if not self._left:
                self._server.note_body(self._body)
        return True

    def _play(self, script: Iterable[Step]) -> bool:
        """Play ``script``; False if the connection is over."""
        self._socket.settimeout(LONGEST)
        for step in script:
            if isinstance(step, Pause):
                self._server.stopping.wait(step.seconds)
            elif isinstance(step, Take):
                if not self._take(step.size):
                    return False
            elif isinstance(step, Raw):
                socket.socket.sendall(self._socket, step.data)
            elif isinstance(step, StartTLS):
                below = self._trickled() if step.trickle else self._socket
                self._socket = step.context.wrap_socket(below, server_side=True)
            elif isinstance(step, bytes):
                self._socket.sendall(step)
            elif not self._do(step):
                return False
        self._socket.settimeout(None)
        return True

    def _trickled(self) -> socket.socket:
        near, far = socket.socketpair()
        self._server.start(_pass_on, self._socket, far, 65_536)
        self._server.start(_pass_on, far, self._socket, 1)
        return near

    def _do(self, step: Do) -> bool:
        if step in (Do.HALF_TLS, Do.FIRST_TLS):
            assert self._server.tls is not None
            flight = tls.flight(self._socket.recv(65_536), self._server.tls)
            size = len(flight) // 2 if step is Do.HALF_TLS else 5 + int.from_bytes(flight[3:5], "big")
            self._socket.sendall(flight[:size])
            return True
        if step is Do.READ_CONNECT:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self._socket.recv(1) or b"\r\n\r\n"
            return head.startswith(b"CONNECT ")
        if step is Do.CLOSE and isinstance(self._socket, ssl.SSLSocket):
            self._socket.settimeout(0)  # the client's own farewell is not waited for
            with contextlib.suppress(OSError):
                self._socket.unwrap()
        elif step is Do.RESET:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif step in (Do.HALF_CLOSE, Do.HOLD):
            if step is Do.HALF_CLOSE:
                self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(65_536):
                pass
        return False


def _pass_on(source: socket.socket, sink: socket.socket, size: int) -> None:
    """Pass on what comes until there is no more, and say so: the two that are at it end each other."""
    with source, contextlib.suppress(OSError):
        while data := source.recv(size):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
