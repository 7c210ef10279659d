"""What users hang on an HTTP client of their own: hooks and auth flows that read the body before we do."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from answering_server import running, text_of
from runtimes import LIBRARIES
from tls import client_context

from aichatfree_sdk import AsyncClient, Client, RetryPolicy, StreamInterruptedError, TransportError

COUNT = 20
OPTIONS: dict[str, Any] = {"verify": client_context(), "trust_env": False}
every_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES.keys())


def read(response: Any) -> None:
    response.read()


async def aread(response: Any) -> None:
    await response.aread()


def reading_auth(library: Any) -> Any:
    class Auth(library.Auth):  # type: ignore[misc, name-defined]
        requires_response_body = True

        def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
            yield request

    return Auth()


def ways(library: Any, hook: Callable[[Any], Any]) -> list[dict[str, Any]]:
    return [{"event_hooks": {"response": [hook]}}, {"auth": reading_auth(library)}]


@every_library
def test_an_answer_that_the_client_has_read_is_that_answer(library: Any) -> None:
    questions = [f"good {number}" for number in range(COUNT)]
    with running() as server:
        for way in ways(library, read):
            with library.Client(**OPTIONS, **way) as http, Client(server.url, http_client=http) as client:
                with ThreadPoolExecutor(COUNT) as threads:
                    answers = list(threads.map(lambda question: client.ask(question).text, questions))
                assert answers == list(map(text_of, questions))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@every_library
def test_an_answer_that_the_async_client_has_read_is_that_answer(library: Any, backend: str) -> None:
    answers: dict[str, str] = {}

    async def main(url: str, way: dict[str, Any]) -> None:
        async def ask(question: str) -> None:
            answers[question] = (await client.ask(question)).text

        async with library.AsyncClient(**OPTIONS, **way) as http, AsyncClient(url, http_client=http) as client:
            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    for number in range(COUNT):
                        group.start_soon(ask, f"good {number}")

    with running() as server:
        for way in ways(library, aread):
            answers.clear()
            anyio.run(main, server.url, way, backend=backend)
            assert answers == {f"good {number}": text_of(f"good {number}") for number in range(COUNT)}


class Hook:
    """Reads the first two bodies and forgets them, and raises after the second; then it does nothing."""

    def __init__(self) -> None:
        self.left = [RuntimeError("a hook's own"), None]

    def strike(self) -> None:
        error = self.left.pop()
        if error is not None:
            raise error

    def sync(self, response: Any) -> None:
        if self.left:
            list(response.iter_raw())
            self.strike()

    async def asynchronous(self, response: Any) -> None:
        if self.left:
            async for _ in response.aiter_raw():
                pass
            self.strike()


ONE = {"retry": RetryPolicy(max_retries=0), "max_connections": 1}
BROKEN = (StreamInterruptedError, TransportError)


@every_library
def test_a_hook_that_raises_or_forgets_leaves_the_pool_whole(library: Any) -> None:
    pool = {"limits": library.Limits(max_connections=1), "event_hooks": {"response": [Hook().sync]}}
    with running() as server, library.Client(**OPTIONS, **pool) as http:
        client = Client(server.url, http_client=http, **ONE)
        with pytest.raises(BROKEN):
            client.ask("good 1")
        with pytest.raises(RuntimeError, match="a hook's own"):
            client.ask("good 2")
        assert client.ask("good 3").text == text_of("good 3")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@every_library
def test_an_async_hook_that_raises_or_forgets_leaves_the_pool_whole(library: Any, backend: str) -> None:
    async def main(url: str) -> None:
        pool = {"limits": library.Limits(max_connections=1), "event_hooks": {"response": [Hook().asynchronous]}}
        async with library.AsyncClient(**OPTIONS, **pool) as http:
            client = AsyncClient(url, http_client=http, **ONE)
            with pytest.raises(BROKEN):
                await client.ask("good 1")
            with pytest.raises(RuntimeError, match="a hook's own"):
                await client.ask("good 2")
            with anyio.fail_after(10):
                assert (await client.ask("good 3")).text == text_of("good 3")

    with running() as server:
        anyio.run(main, server.url, backend=backend)
