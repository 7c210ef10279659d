"""A server that does to each request exactly what its script says, byte for byte, on a real socket."""

from __future__ import annotations

import contextlib
import enum
import json
import socket
import struct
import threading
from collections.abc import Iterable
from typing import Any, Self

from attrs import frozen


class Do(enum.Enum):
    """What a script does next to sending bytes."""

    CLOSE = "close the connection"
    RESET = "reset the connection"
    HOLD = "send nothing more until the client hangs up"


@frozen
class Pause:
    """Send nothing for some seconds: the model thinks."""

    seconds: float


Step = bytes | Do | Pause


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
    """Serves on a free loopback port; each request takes the next script, whichever connection it comes on."""

    def __init__(self, *scripts: Iterable[Step]) -> None:
        self._scripts = iter(scripts)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.connections = 0
        self.asked = threading.Event()  # set once a request has come

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        # Wakes accept(); closing alone would not.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(5)
        # A thread that is still there waits for a client that has not hung up: the client leaks a connection.
        assert not any(thread.is_alive() for thread in self._threads), "a connection was left open"

    def _start(self, target: Any, *args: Any) -> None:
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
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            file = connection.makefile("rb")
            with file:
                while self._read_request(file):
                    with self._lock:
                        script = next(self._scripts, None)
                    assert script is not None, "a request that the script does not expect"
                    if not self._play(connection, script):
                        return

    def _read_request(self, file: Any) -> bool:
        lines = list(iter(file.readline, b"\r\n"))[:100] if (first := file.readline()) else []
        if not first:
            return False
        text = b"".join([first, *lines]).decode("latin-1")
        length = next(
            int(line.split(":")[1]) for line in text.splitlines() if line.lower().startswith("content-length")
        )
        body = file.read(length)
        with self._lock:
            self.heads.append(text)
            self.requests.append(json.loads(body))
        self.asked.set()
        return True

    def _play(self, connection: socket.socket, script: Iterable[Step]) -> bool:
        for step in script:
            if step is Do.CLOSE:
                return False
            if step is Do.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            if step is Do.HOLD:
                return bool(connection.recv(1))
            if isinstance(step, Pause):
                self._stopping.wait(step.seconds)
            else:
                connection.sendall(step)
        return True
