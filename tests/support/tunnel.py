"""A proxy for one connection, that writes down what each of its two sides was asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Self


class Tunnel:
    """Answers CONNECT, and what then comes inside of the tunnel.

    Args:
        reply: what it says to CONNECT; nothing and a closed connection if it is empty.
        context: the TLS of the server behind it, for a tunnel that is opened.
        answer: what that server says.
    """

    def __init__(self, reply: bytes, context: ssl.SSLContext, answer: bytes) -> None:
        self._reply = reply
        self._context = context
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.outside = ""
        self.inside = ""

    def __enter__(self) -> Self:
        self._socket.settimeout(30)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        self._socket.close()
        assert not self._thread.is_alive(), "the tunnel is still in use"

    def _serve(self) -> None:
        outer, _ = self._socket.accept()
        with outer:
            outer.settimeout(30)
            self.outside = _read_head(outer)
            outer.sendall(self._reply)
            if not self._reply.startswith(b"HTTP/1.1 200 "):
                return
            with self._context.wrap_socket(outer, server_side=True) as inner:
                self.inside = _read_head(inner)
                inner.sendall(self._answer)
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
