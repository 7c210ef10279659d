"""Requests signed as a client signs them, and a bare socket to see what really comes back."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from aichatfree_sdk.core.signing import generate_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIME = 1_700_000_000_000


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def build(text: str = "Hello", *, secret: str = "", time: int = TIME, **changes: Any) -> dict[str, Any]:
    messages = changes.pop("messages", [message("user", text)])
    sign = generate_signature(time, "".join(part["text"] for part in messages[-1]["parts"]), secret)
    return {"messages": messages, "time": time, "pass": None, "sign": sign, **changes}


class Wire:
    """One connection that has sent a generate request and hands out the raw bytes of the reply."""

    def __init__(self, url: str, body: dict[str, Any]) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.socket = socket.create_connection((parts.hostname, parts.port or 80), timeout=10)
        content = json.dumps(body).encode()
        head = f"POST /api/generate HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        self.socket.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        self.received = b""

    def read_until(self, end: bytes) -> bytes:
        while end not in self.received:
            data = self.socket.recv(65536)
            assert data, f"the connection ended after {self.received!r}"
            self.received += data
        return self.received

    def read_all(self) -> bytes:
        while data := self.socket.recv(65536):
            self.received += data
        return self.received

    def body(self) -> bytes:
        return self.read_all().partition(b"\r\n\r\n")[2]


@pytest.fixture
def signed() -> Callable[..., dict[str, Any]]:
    return build


@pytest.fixture
def wire() -> Callable[..., Any]:
    @contextmanager
    def connect(url: str, body: dict[str, Any] | None = None) -> Iterator[Wire]:
        connection = Wire(url, build() if body is None else body)
        with connection.socket:
            yield connection

    return connect
