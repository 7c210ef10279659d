"""A proxy for a few connections, one after the other, that writes down what each of its two sides was asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable
from typing import Self


class Tunnel:
    """Answers CONNECT, and what then comes inside of the tunnel.

    Args:
        replies: what it says to CONNECT, one a connection; nothing and a closed connection if it is empty.
        context: the TLS of the server behind it, for a tunnel that is opened.
        answers: what that server says, one a tunnel that is opened.
    """

    def __init__(self, replies: Iterable[bytes], context: ssl.SSLContext, answers: Iterable[bytes]) -> None:
        self._replies = replies
        self._context = context
        self._answers = iter(answers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.outside: list[str] = []
        self.inside: list[str] = []

    def __enter__(self) -> Self:
        self._socket.settimeout(30)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        self._socket.close()
        assert not self._thread.is_alive(), "the tunnel is still in use"

    def _serve(self) -> None:
        for reply in self._replies:
            outer, _ = self._socket.accept()
            with outer:
                outer.settimeout(30)
                self._serve_connection(outer, reply)

    def _serve_connection(self, outer: socket.socket, reply: bytes) -> None:
        self.outside.append(_read_head(outer))
        outer.sendall(reply)
        if reply.startswith(b"HTTP/1.1 200 "):
            with self._context.wrap_socket(outer, server_side=True) as inner:
                self.inside.append(_read_head(inner))
                inner.sendall(next(self._answers))
                with contextlib.suppress(OSError):
                    while inner.recv(65_536):  # the rest of the request, until the client hangs up
                        pass


def _read_head(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        assert piece, "the client hung up"
        data += piece
    return data.partition(b"\r\n\r\n")[0].decode("latin-1")
