"""A client of the user's own may speak HTTP/2, where many answers share a connection, and one task reads for all."""

from __future__ import annotations

import socket
import threading

import anyio
import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

from aichatfree_sdk import AsyncClient, Client, IdleTimeoutError, Timeout

AT_ONCE = 5
SILENCE = Timeout(first_text=None, idle=0.2)


def serve_together(listener: socket.socket) -> None:
    """Answer a first request by itself, and the others, once all have come, in one piece."""
    connection, _ = listener.accept()
    with connection:
        http = H2Connection(H2Configuration(client_side=False))
        http.initiate_connection()
        connection.sendall(http.data_to_send())
        waiting: list[int] = []
        wanted = 1
        while data := connection.recv(65_536):
            waiting += [event.stream_id for event in http.receive_data(data) if isinstance(event, StreamEnded)]
            if len(waiting) == wanted:
                for stream in waiting:
                    http.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
                    http.send_data(stream, f"answer {stream}".encode(), end_stream=True)
                waiting, wanted = [], AT_ONCE
            connection.sendall(http.data_to_send())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_answer_that_another_task_has_read_is_no_answer_to_something_else(backend: str) -> None:
    answers: list[str] = []

    async def main(url: str) -> None:
        async def ask(client: AsyncClient) -> None:
            answers.append((await client.ask("q")).text)

        async with (
            httpx.AsyncClient(http1=False, http2=True, trust_env=False) as http,
            AsyncClient(url, http_client=http) as client,
        ):
            await ask(client)
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    for _ in range(AT_ONCE):
                        group.start_soon(ask, client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve_together, args=[listener])
        server.start()
        anyio.run(main, f"http://127.0.0.1:{listener.getsockname()[1]}", backend=backend)
        server.join(20)
        assert not server.is_alive()
    assert sorted(answers) == sorted(f"answer {1 + 2 * number}" for number in range(1 + AT_ONCE))


def serve_half(listener: socket.socket) -> None:
    """Begin an answer, and say no more."""
    connection, _ = listener.accept()
    with connection:
        http = H2Connection(H2Configuration(client_side=False))
        http.initiate_connection()
        while data := connection.recv(65_536):
            for event in http.receive_data(data):
                if isinstance(event, StreamEnded):
                    http.send_headers(event.stream_id, [(":status", "200"), ("content-type", "text/plain")])
                    http.send_data(event.stream_id, b"Once upon")
            connection.sendall(http.data_to_send())


@pytest.mark.parametrize("backend", ["blocking", "asyncio", "trio"])
def test_the_clock_of_silence_follows_that_of_the_first_text(backend: str) -> None:
    def ask(url: str) -> None:
        with httpx.Client(http1=False, http2=True, trust_env=False) as http:
            Client(url, http_client=http, timeout=SILENCE).ask("q")

    async def main(url: str) -> None:
        async with httpx.AsyncClient(http1=False, http2=True, trust_env=False) as http:
            await AsyncClient(url, http_client=http, timeout=SILENCE).ask("q")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve_half, args=[listener], daemon=True)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(IdleTimeoutError) as caught:
            ask(url) if backend == "blocking" else anyio.run(main, url, backend=backend)
        server.join(20)
        assert not server.is_alive()
    assert caught.value.partial_text == "Once upon"
