"""Running the app by uvicorn, in a way that stops at once, streams open or not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from aichatfree_sdk.server.deltas import CLOSE_GRACE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from starlette.types import ASGIApp

TICK = 0.1  # seconds between uvicorn's housekeeping rounds, its own number


class QuickServer(uvicorn.Server):
    """uvicorn, except that stopping hangs up on open streams instead of waiting for their end."""

    def __init__(self, app: ASGIApp, on_started: Callable[[], object] | None = None) -> None:
        # Everything "auto" would find something else on another machine; h11 and asyncio are always there.
        # log_config=None: a library leaves the logging of the program it runs in alone.
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            workers=1,
        )
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._on_started = on_started

    def stop(self) -> None:
        """Ask the server to stop, from any thread; a server that is not running has nothing to hear."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._wake.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at Ctrl-C or a termination signal."""
        super().handle_exit(sig, frame)
        self.stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and then tell whoever waits for it."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        if self._on_started is not None:
            self._on_started()

    async def main_loop(self) -> None:
        """Serve until told to stop, and notice it at once; uvicorn's own loop sleeps through a tick first."""
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % 864_000
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, hang up on everybody, and let the responders close."""
        # A listener that is closed between accepting a connection and making a transport of it leaves the connection
        # open (https://github.com/python/cpython/issues/109564). So it stops accepting, and is closed a round later.
        loop = asyncio.get_running_loop()
        for sock in [sock for listener in self.servers for sock in listener.sockets]:
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.remove_reader(sock)
        await asyncio.sleep(0)
        for listener in self.servers:
            listener.close()
        # Three rounds of the loop: what was just accepted shows up among the connections two rounds later.
        for _ in range(3):
            for connection in cast("set[Any]", self.server_state.connections).copy():
                connection.transport.abort()
            await asyncio.sleep(0)
        if tasks := self.server_state.tasks.copy():
            _, stuck = await asyncio.wait(tasks, timeout=CLOSE_GRACE + 0.1)
            for task in stuck:
                task.cancel()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; port 0 takes a free one. Raises OSError, with the address, if it cannot be had."""
    sock = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # asyncio turns Nagle's algorithm off only on sockets whose protocol number is spelled out, and create_server's is
    # not; each answer then waited 40 ms for the client's delayed ACK. What is accepted inherits the option.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def url_of(sock: socket.socket) -> str:
    """Return the base URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    on_started: Callable[[str], object] | None = None,
) -> None:
    """Serve the app in the foreground until Ctrl-C or a termination signal.

    Args:
        app: what ``create_app`` returned, or any other ASGI app without a lifespan.
        host: the address to listen on.
        port: the TCP port to listen on; 0 takes a free one.
        on_started: called with the base URL, such as ``http://127.0.0.1:8000``, once requests are answered.

    Returns:
        None, after Ctrl-C; open streams are hung up on.

    Raises:
        OSError: the address is in use or not ours.
    """
    with listen(host, port) as sock, contextlib.suppress(KeyboardInterrupt):
        url = url_of(sock)
        QuickServer(app, lambda: on_started and on_started(url)).run(sockets=[sock])
