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

from aichatfree_sdk import AsyncClient, Client

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
