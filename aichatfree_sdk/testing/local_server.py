"""LocalServer: the real protocol on a loopback port, in a thread of the test process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from aichatfree_sdk.server import Responder, echo_responder, scripted_responder
from aichatfree_sdk.server.asgi import build_app
from aichatfree_sdk.server.run import QuickServer, listen, url_of
from aichatfree_sdk.server.text import split_text
from aichatfree_sdk.server.wire import Site

if TYPE_CHECKING:
    import socket
    from types import TracebackType
    from typing import Self

    from starlette.types import ASGIApp

# Seconds to wait for the thread to end; only a responder that blocks the event loop itself takes longer.
STOP_TIMEOUT = 5.0


class LocalServer:
    """A server that speaks the AIChatFree protocol on a loopback port, for the length of a ``with`` block.

    Args:
        password: the site password that requests must carry; None means that none is needed.
        secret: the key that requests are signed with; ``""`` as on the public site.
        responder: what answers, as for ``create_app``; a str is the whole answer, sent word by word; None echoes.
        max_clock_skew: how far, in seconds, a request's time may be off; None means that nobody looks.
        host: the address to listen on.
        port: the TCP port to listen on; 0 takes a free one at every start.

    Raises:
        OSError: at the start, if the address is in use or not ours.
        ValueError: ``max_clock_skew`` is negative, or ``secret`` holds a lone surrogate.
        TypeError: ``responder`` cannot be called.

    Example:
        >>> from aichatfree_sdk.testing import LocalServer
        >>> with LocalServer(responder="Paris.") as server, Client(server.url) as client:
        ...     client.ask("Capital of France?").text
        'Paris.'
    """

    def __init__(
        self,
        *,
        password: str | None = None,
        secret: str = "",
        responder: Responder | str | None = None,
        max_clock_skew: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if isinstance(responder, str):
            responder = scripted_responder(split_text(responder))
        self._site = Site(password=password, secret=secret, max_clock_skew=max_clock_skew)
        self._requests: list[dict[str, Any]] = []
        self._app = build_app(self._site, responder or echo_responder, self._requests.append)
        self._address = (host, port)
        self._url: str | None = None
        self._running: _Running | None = None

    @property
    def url(self) -> str:
        """The base URL, such as ``http://127.0.0.1:45123``; after a stop the last one.

        Raises:
            RuntimeError: the server was never started.
        """
        if self._url is None:
            raise RuntimeError("the server has no URL before it is started: use `with LocalServer() as server:`")
        return self._url

    @property
    def password(self) -> str | None:
        """The site password, or None."""
        return self._site.password

    @property
    def secret(self) -> str:
        """The key that requests are signed with."""
        return self._site.secret

    @property
    def requests(self) -> tuple[dict[str, Any], ...]:
        """The parsed bodies of the generate requests so far, in the order they came, refused ones too."""
        return tuple(self._requests)

    def start(self) -> Self:
        """Start, and return once requests are answered; a running server is left alone.

        Returns:
            The server itself.

        Raises:
            OSError: it cannot listen on its address.
        """
        if self._running is None:
            sock = listen(*self._address)
            self._url = url_of(sock)
            self._running = _Running(self._app, sock)
        return self

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Hang up on open streams and stop; a stopped server is left alone.

        Args:
            timeout: seconds to wait for the server's thread; it needs milliseconds.

        Raises:
            RuntimeError: the thread is still there: an async responder blocks the event loop.

        Example:
            >>> from aichatfree_sdk.testing import LocalServer
            >>> server = LocalServer().start()
            >>> server.stop()
            >>> server
            <LocalServer stopped>
        """
        running, self._running = self._running, None
        if running is not None:
            running.stop(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "stopped" if self._running is None else f"at {self._url}"
        return f"<LocalServer {state}>"


class _Running:
    """One life of the server: a thread, from a bound socket to its end."""

    def __init__(self, app: ASGIApp, sock: socket.socket) -> None:
        self._ready = threading.Event()
        self._server = QuickServer(app, on_started=self._ready.set)
        self._sock = sock
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="aichatfree-server", daemon=True)
        self._thread.start()
        self._ready.wait()
        if not self._server.started:
            self._thread.join()
            raise RuntimeError("the server did not start") from self._failure

    def stop(self, timeout: float) -> None:
        self._server.stop()
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise RuntimeError("the server does not stop: an async responder blocks its event loop")

    def _serve(self) -> None:
        try:
            with self._sock:
                self._server.run(sockets=[self._sock])
        except BaseException as error:  # noqa: BLE001 - uvicorn calls sys.exit; the starter is told instead
            self._failure = error
        finally:
            self._ready.set()
