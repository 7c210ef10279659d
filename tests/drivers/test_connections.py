"""The connections of a client that makes its own: how many there are, and which of them goes first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import anyio
import anyio.to_thread
import pytest
from scripted_server import Do, ScriptedServer, answer

from aichatfree_sdk import AsyncClient, Client

BACKENDS = pytest.mark.parametrize("backend", ["sync", "asyncio", "trio"])
CLOSING = [*answer("a"), Do.CLOSE]


def run(backend: str, blocking: Callable[[], None], with_async: Callable[[], Awaitable[None]]) -> None:
    if backend == "sync":
        blocking()
    else:
        anyio.run(with_async, backend=backend)


def connections(client: Client | AsyncClient) -> str:
    pool: Any = client._transport._client._transport._pool  # type: ignore[union-attr]
    return repr(pool).partition(", ")[2].rstrip(">")


@BACKENDS
def test_one_that_is_idle_gives_way_to_another_deployment(backend: str) -> None:
    def blocking() -> None:
        with Client(first.url, max_connections=1) as client:
            other = client.with_options(base_url=second.url)
            for number, asked in enumerate([client, client, other, client]):
                assert asked.ask("q").text == f"{number}"
                assert connections(client) == "0 in use, 1 idle"

    async def with_async() -> None:
        async with AsyncClient(first.url, max_connections=1) as client:
            other = client.with_options(base_url=second.url)
            for number, asked in enumerate([client, client, other, client]):
                assert (await asked.ask("q")).text == f"{number}"
                assert connections(client) == "0 in use, 1 idle"

    with ScriptedServer(answer("0"), answer("1"), answer("3")) as first, ScriptedServer(answer("2")) as second:
        run(backend, blocking, with_async)
        assert (first.connections, second.connections) == (2, 1)


@BACKENDS
def test_those_that_the_server_hung_up_are_closed_by_the_next_request(backend: str) -> None:
    def blocking() -> None:
        with Client(server.url) as client:
            with ExitStack() as stack:
                streams = [stack.enter_context(client.stream("q")) for _ in range(3)]
                assert connections(client) == "3 in use, 0 idle"
                assert [stream.drain().text for stream in streams] == ["a"] * 3
            assert connections(client) == "0 in use, 3 idle"
            server.wait_until_played()
            assert client.ask("q").text == "b"
            assert connections(client) == "0 in use, 1 idle"

    async def with_async() -> None:
        async with AsyncClient(server.url) as client:
            async with AsyncExitStack() as stack:
                streams = [await stack.enter_async_context(client.stream("q")) for _ in range(3)]
                assert connections(client) == "3 in use, 0 idle"
                assert [(await stream.drain()).text for stream in streams] == ["a"] * 3
            assert connections(client) == "0 in use, 3 idle"
            await anyio.to_thread.run_sync(server.wait_until_played)
            assert (await client.ask("q")).text == "b"
            assert connections(client) == "0 in use, 1 idle"

    with ScriptedServer(CLOSING, CLOSING, CLOSING, answer("b")) as server:
        run(backend, blocking, with_async)
        assert server.connections == 4


@BACKENDS
def test_one_whose_answer_was_left_is_closed(backend: str) -> None:
    def blocking() -> None:
        with Client(server.url) as client:
            with client.stream("q") as stream:
                next(stream)
            assert connections(client) == "0 in use, 0 idle"

    async def with_async() -> None:
        async with AsyncClient(server.url) as client:
            async with client.stream("q") as stream:
                await anext(stream)
            assert connections(client) == "0 in use, 0 idle"

    with ScriptedServer([*answer("a", "b", "c")[:-1], Do.HOLD]) as server:
        run(backend, blocking, with_async)
