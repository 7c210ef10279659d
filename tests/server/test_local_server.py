"""LocalServer's life: ready when it says so, gone without a trace, silent about secrets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import hygiene
import pytest

from aichatfree_sdk.server import create_app, run
from aichatfree_sdk.testing import LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aichatfree_sdk.server import ChatMessage


def ask(server: LocalServer, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(server.url + "/api/generate", json=body, trust_env=False)


async def endless(messages: tuple[ChatMessage, ...]) -> AsyncIterator[str]:
    yield "first "
    await asyncio.Event().wait()


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="counts the open files through /dev/fd")
def test_no_thread_and_no_socket_stays_behind(signed: Any, wire: Any) -> None:
    def life() -> None:
        with LocalServer(responder=endless) as server, wire(server.url) as one, wire(server.url) as two:
            one.read_until(b"first ")
            two.read_until(b"first ")
            server.stop()
        with LocalServer(responder=lambda messages: iter(["a", "b"])) as server:
            assert ask(server, signed()).text == "ab"

    life()  # what the first run imports and opens for good is no leak
    before = threading.active_count(), open_files()
    for _ in range(5):
        life()
        assert (threading.active_count(), open_files()) == before


@pytest.mark.parametrize("passes", range(8))
def test_a_connection_that_comes_while_the_server_stops_is_closed(passes: int) -> None:
    """However far the event loop has come with accepting it."""

    async def main() -> None:
        with run.listen("127.0.0.1", 0) as listener:
            server = run.QuickServer(create_app(), on_started=started.set)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await started.wait()
            with socket.create_connection(listener.getsockname()) as connection:
                for _ in range(passes):
                    await asyncio.sleep(0)
                server.stop()
                await serving
                listener.close()
                connection.settimeout(5)
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(1) == b""

    started = asyncio.Event()
    with hygiene.unharmed():
        asyncio.run(main())


def test_stopping_is_quick_and_hangs_up_on_open_streams(wire: Any) -> None:
    with LocalServer(responder=endless) as server, wire(server.url) as connection:
        connection.read_until(b"first ")
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 0.5  # milliseconds, really; waiting for the stream takes more
        with contextlib.suppress(ConnectionResetError):
            connection.read_all()
        assert not connection.received.endswith(b"0\r\n\r\n")
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url, trust_env=False)


def test_starting_and_stopping_twice_is_once(signed: Any) -> None:
    server = LocalServer()
    server.stop()
    try:
        assert server.start() is server
        url = server.url
        assert server.start().url == url
        assert ask(server, signed()).status_code == 200
    finally:
        server.stop()
    server.stop()
    assert server.url == url


def test_a_stopped_server_starts_again(signed: Any) -> None:
    server = LocalServer()
    for lives in (1, 2):
        with server:
            assert ask(server, signed()).text == "You said: Hello"
        assert len(server.requests) == lives


def test_a_port_in_use_is_an_oserror_that_names_it() -> None:
    with LocalServer() as first:
        port = int(first.url.rpartition(":")[2])
        second = LocalServer(port=port)
        with pytest.raises(OSError, match=str(port)) as caught:
            second.start()
        assert caught.value.errno == errno.EADDRINUSE
    with second:  # free again, and the failure left nothing behind
        assert second.url == first.url


def test_there_is_no_url_before_the_start() -> None:
    with pytest.raises(RuntimeError, match="with LocalServer"):
        _ = LocalServer().url


def test_ipv6(signed: Any) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with LocalServer(host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert ask(server, signed()).status_code == 200


def test_requests_are_a_snapshot_of_what_came(signed: Any) -> None:
    with LocalServer(password="open sesame") as server:
        assert server.requests == ()
        first, second = signed(), signed("Again", **{"pass": "open sesame"})
        assert ask(server, first).status_code == 401
        before = server.requests
        assert ask(server, second).status_code == 200
        httpx.post(server.url + "/api/auth", json={"pass": "x"}, trust_env=False)
        assert before == (first,)
        assert server.requests == (first, second)


def test_secrets_stay_out_of_repr_and_log(signed: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), LocalServer(password="pa55word", secret="s3cr3t") as server:
        assert (server.password, server.secret) == ("pa55word", "s3cr3t")
        ask(server, signed(secret="s3cr3t", **{"pass": "pa55word"}))
        shown = repr(server) + repr({name: value for name, value in vars(server).items() if name != "_requests"})
    shown += repr(server)
    assert "127.0.0.1" in shown
    assert "stopped" in shown
    for hidden in ("pa55word", "s3cr3t"):
        assert hidden not in shown
        assert hidden not in caplog.text


def test_the_programs_logging_and_signals_are_left_alone() -> None:
    def state() -> object:
        names = ("", "uvicorn", "uvicorn.error")
        loggers = [logging.getLogger(name) for name in names]
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        return [(log.level, list(log.handlers), log.propagate) for log in loggers], handlers

    before = state()
    with LocalServer():
        assert state() == before
    assert state() == before


def test_a_loop_blocked_by_a_responder_is_reported(wire: Any) -> None:
    gate, entered = threading.Event(), threading.Event()

    async def responder(messages: tuple[ChatMessage, ...]) -> AsyncIterator[str]:
        entered.set()
        gate.wait(30)
        yield "late"

    server = LocalServer(responder=responder).start()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "aichatfree-server"]
    with wire(server.url):
        assert entered.wait(5)
        with pytest.raises(RuntimeError, match="blocks its event loop"):
            server.stop(timeout=0.05)
        gate.set()
        thread.join(5)
    assert not thread.is_alive()
