"""A scripted server in the client's own event loop, so that both take their steps in one order, the same every time."""

from __future__ import annotations

import contextlib
import json
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, MutableSequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
import trio
from anyio.streams.tls import TLSListener, TLSStream
from attrs import define, field
from scripted_server import Do, Pause, Step

Script = Callable[[str, int], Iterable[Step]]


@define
class LoopServer:
    """What a test sees of the server."""

    url: str
    script: Script  # from a question, and how often it has come before, to what is sent
    proxy: str | None = None
    asked: Counter[str] = field(factory=Counter)
    connections: int = 0  # that are open

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        self.connections += 1
        try:
            async with stream:
                while question := await self._read_question(stream):
                    self.asked[question] += 1
                    for step in self.script(question, self.asked[question] - 1):
                        if step is Do.CLOSE:
                            return
                        if step is Do.HOLD:
                            await stream.receive()
                        elif isinstance(step, Pause):
                            await anyio.sleep(step.seconds)
                        elif isinstance(step, bytes):
                            await stream.send(step)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass  # the client has hung up, which is its right
        finally:
            self.connections -= 1

    @staticmethod
    async def _read_question(stream: anyio.abc.ByteStream) -> str:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        while len(body) < length:
            body += await stream.receive()
        request: dict[str, Any] = json.loads(body)
        return str(request["messages"][-1]["parts"][0]["text"]) if "messages" in request else "password"


@asynccontextmanager
async def loop_server(
    script: Script, tls: ssl.SSLContext | None = None, *, tunnel: bool = False
) -> AsyncIterator[LoopServer]:
    """Serve on a free loopback port while the block runs, under TLS where a context is given.

    With ``tunnel`` it is a proxy there, and the server behind it.
    """
    listener: anyio.abc.Listener[Any] = await anyio.create_tcp_listener(local_host="127.0.0.1")
    address = f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
    if tls is not None and not tunnel:
        listener = TLSListener(listener, tls, standard_compatible=False)
    server = LoopServer(f"http{'s' if tls else ''}://{address}", script, proxy=f"http://{address}" if tunnel else None)

    async def serve_tunnel(stream: anyio.abc.ByteStream) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                while not (await stream.receive()).endswith(b"\r\n\r\n"):
                    pass
                await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                inner = await TLSStream.wrap(stream, server_side=True, ssl_context=tls, standard_compatible=False)
                await server.serve(inner)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve_tunnel if tunnel else server.serve)
        yield server
        group.cancel_scope.cancel()


class _Order(random.Random):
    def __init__(self, *, oldest_first: bool) -> None:
        super().__init__()
        self._oldest_first = oldest_first

    def shuffle(self, x: MutableSequence[Any]) -> None:
        if self._oldest_first:  # trio takes them from the end
            x.reverse()


def take_turns(monkeypatch: pytest.MonkeyPatch, *, oldest_first: bool) -> None:
    """Have trio run what can go on in the order of its age, which it shuffles otherwise."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # hypothesis sets it, too
    monkeypatch.setattr(trio._core._run, "_r", _Order(oldest_first=oldest_first))
