"""A scripted server in the client's own event loop, so that both take their steps in one order, the same every time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
from attrs import define, field
from scripted_server import Do, Pause, Step

Script = Callable[[str, int], Iterable[Step]]


@define
class LoopServer:
    """What a test sees of the server."""

    url: str
    script: Script  # from a question, and how often it has come before, to what is sent
    asked: Counter[str] = field(factory=Counter)
    connections: int = 0  # that are open

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
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
    async def _read_question(stream: anyio.abc.SocketStream) -> str:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        while len(body) < length:
            body += await stream.receive()
        request: dict[str, Any] = json.loads(body)
        return str(request["messages"][-1]["parts"][0]["text"])


@asynccontextmanager
async def loop_server(script: Script) -> AsyncIterator[LoopServer]:
    """Serve on a free loopback port while the block runs."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    server = LoopServer(f"http://127.0.0.1:{port}", script)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield server
        group.cancel_scope.cancel()
