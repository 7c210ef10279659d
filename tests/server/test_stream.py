"""The answer on the wire: its chunks, its failures, and what becomes of a responder nobody listens to any more."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from aichatfree_sdk.server import ChatMessage, UpstreamError, scripted_responder
from aichatfree_sdk.testing import LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

Messages = tuple[ChatMessage, ...]
END = b"0\r\n\r\n"
TRAILER = b"15\r\nInternal server error\r\n"


def chunks(*deltas: str) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(delta.encode()), delta.encode()) for delta in deltas)


def ask(server: LocalServer, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(server.url + "/api/generate", json=body, trust_env=False)


def test_the_recorded_exchange_byte_for_byte(signed: Any, wire: Any) -> None:
    with LocalServer() as server, wire(server.url, signed("Привет, ты тут?")) as connection:
        head, _, body = connection.read_all().partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert b"content-type: text/plain; charset=utf-8" in lines
    assert b"transfer-encoding: chunked" in head.lower()
    assert b"content-length" not in head.lower()
    assert body == chunks("You said: ", "Привет, ", "ты ", "тут?") + END


async def async_deltas(messages: Messages) -> AsyncIterator[str]:
    for delta in ("one ", "", "два ", "三"):
        await asyncio.sleep(0)
        yield delta


def sync_deltas(messages: Messages) -> Iterator[str]:
    yield from ("one ", "", "два ", "三")


class Plain:
    """Iterators that are no generators: nothing to close."""

    def __init__(self, *deltas: str) -> None:
        self._deltas = iter(deltas)

    def __aiter__(self) -> Plain:
        return self

    async def __anext__(self) -> str:
        for delta in self._deltas:
            return delta
        raise StopAsyncIteration


@pytest.mark.parametrize(
    "responder",
    [
        async_deltas,
        sync_deltas,
        scripted_responder(["one ", "", "два ", "三"]),
        "one два 三",
        lambda messages: ["one ", "", "два ", "三"],
        lambda messages: "one два 三",
        lambda messages: iter(("one ", "", "два ", "三")),
        functools.partial(async_deltas),
        lambda messages: aiter(async_deltas(messages)),
        lambda messages: Plain("one ", "", "два ", "三"),
    ],
)
def test_one_chunk_per_delta_from_every_kind_of_responder(responder: Any, wire: Any) -> None:
    with LocalServer(responder=responder) as server:
        for _ in range(2):
            with wire(server.url) as connection:
                assert connection.body() == chunks("one ", "два ", "三") + END


@pytest.mark.parametrize("deltas", [[], ["", ""]])
def test_an_answer_without_text_is_an_empty_200(deltas: list[str], wire: Any) -> None:
    with LocalServer(responder=scripted_responder(deltas)) as server, wire(server.url) as connection:
        assert connection.read_all().startswith(b"HTTP/1.1 200 OK\r\n")
        assert connection.body() == END


def test_a_delta_is_on_the_wire_before_the_next_one_exists(wire: Any) -> None:
    gate = threading.Event()

    def responder(messages: Messages) -> Iterator[str]:
        yield "first "
        assert gate.wait(10)
        yield "second"

    with LocalServer(responder=responder) as server, wire(server.url) as connection:
        connection.read_until(chunks("first "))
        with wire(server.url) as other:  # a waiting thread keeps nobody else from being served
            other.read_until(chunks("first "))
        gate.set()
        assert connection.body() == chunks("first ", "second") + END


def test_the_responder_gets_the_whole_history(signed: Any, wire: Any) -> None:
    seen: list[Messages] = []

    def responder(messages: Messages) -> list[str]:
        seen.append(messages)
        return ["ok"]

    roles = [("user", "a"), ("model", "b"), ("user", "c")]
    history = [{"role": role, "parts": [{"text": text}]} for role, text in roles]
    with LocalServer(responder=responder) as server:
        assert ask(server, signed(messages=history)).text == "ok"
    assert seen == [(ChatMessage("user", "a"), ChatMessage("model", "b"), ChatMessage("user", "c"))]


class Boom(Exception):
    pass


def boom(messages: Messages) -> list[str]:
    raise Boom("a secret detail")


def fails_at_once(messages: Messages) -> Iterator[str]:
    yield ""
    raise Boom("a secret detail")


@pytest.mark.parametrize("responder", [boom, fails_at_once, scripted_responder([], Boom("a secret detail"))])
def test_a_responder_that_fails_before_any_text_is_500(
    responder: Any, signed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with LocalServer(responder=responder) as server:
        response = ask(server, signed())
    assert response.status_code == 500
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.json()["error"]["code"] == "Boom"
    assert "secret" not in response.text
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "aichatfree_sdk.server"
    assert record.exc_info is not None
    assert record.exc_info[0] is Boom


@pytest.mark.parametrize("wrong", [5, b"bytes", None, "half \ud83d"])
def test_a_delta_that_cannot_be_sent_is_the_responders_failure(wrong: Any, signed: Any, wire: Any) -> None:
    with LocalServer(responder=scripted_responder([wrong])) as server:
        assert ask(server, signed()).status_code == 500
    with LocalServer(responder=scripted_responder(["good ", wrong])) as server, wire(server.url) as connection:
        assert connection.body() == chunks("good ") + TRAILER + END


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (UpstreamError("API key not valid."), '{"error":{"code":"Error","message":"API key not valid."}}'),
        (UpstreamError("Нет «квоты»", "Quota"), '{"error":{"code":"Quota","message":"Нет «квоты»"}}'),
        (UpstreamError("\ud800"), '{"error":{"code":"Error","message":"\ufffd"}}'),
    ],
)
def test_an_upstream_error_becomes_the_body_of_the_500(error: UpstreamError, body: str, signed: Any) -> None:
    with LocalServer(responder=scripted_responder([], error)) as server:
        for _ in range(2):
            response = ask(server, signed())
            assert (response.status_code, response.text) == (500, body)


@pytest.mark.parametrize("error", [UpstreamError("safety"), Boom("bug")])
def test_a_failure_in_the_middle_is_the_trailer_and_a_clean_end(error: Exception, wire: Any) -> None:
    responder = scripted_responder(["Once upon ", "a time "], error)
    with LocalServer(responder=responder) as server, wire(server.url) as connection:
        assert connection.body() == chunks("Once upon ", "a time ") + TRAILER + END


def test_a_failed_answer_leaves_the_connection_usable(signed: Any) -> None:
    with (
        LocalServer(responder=scripted_responder(["a "], Boom())) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        replies = [client.post("/api/generate", json=signed()) for _ in range(3)]
        streams = {id(reply.extensions["network_stream"]) for reply in replies}
    assert [reply.text for reply in replies] == ["a Internal server error"] * 3
    assert len(streams) == 1


class Watched:
    """Responders that wait, flood or refuse to go, and tell when they are closed."""

    def __init__(self, on_close: Callable[[], None] | None = None) -> None:
        self.closed = threading.Event()
        self.on_close = on_close or self.closed.set
        self.gate = threading.Event()

    async def waits(self, messages: Messages) -> AsyncIterator[str]:
        try:
            yield "first "
            await asyncio.Event().wait()
        finally:
            self.on_close()

    async def floods(self, messages: Messages) -> AsyncIterator[str]:
        try:
            yield "first "
            while True:
                yield "x" * 1000
        finally:
            self.on_close()

    def floods_blocking(self, messages: Messages) -> Iterator[str]:
        try:
            yield "first "
            while True:
                yield "x" * 1000
        finally:
            self.on_close()

    def waits_blocking(self, messages: Messages) -> Iterator[str]:
        try:
            yield "first "
            self.gate.wait(10)
            yield "second"
        finally:
            self.on_close()


@pytest.mark.parametrize("kind", ["waits", "floods", "floods_blocking"])
def test_a_client_that_leaves_closes_the_responder(kind: str, wire: Any) -> None:
    watched = Watched()
    with LocalServer(responder=getattr(watched, kind)) as server:
        with wire(server.url) as connection:
            connection.read_until(chunks("first "))
        assert watched.closed.wait(5)


def test_a_client_that_leaves_before_any_text_closes_the_responder(wire: Any) -> None:
    entered, closed = threading.Event(), threading.Event()

    async def responder(messages: Messages) -> AsyncIterator[str]:
        entered.set()
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            closed.set()

    with LocalServer(responder=responder) as server:
        with wire(server.url):
            assert entered.wait(5)
        assert closed.wait(5)


def test_a_thread_stuck_in_a_responder_closes_it_when_it_comes_back(wire: Any) -> None:
    watched = Watched()
    with LocalServer(responder=watched.waits_blocking) as server, wire(server.url) as connection:
        connection.read_until(chunks("first "))
        (worker,) = [thread for thread in threading.enumerate() if thread.name == "aichatfree-responder"]
    assert not watched.closed.is_set()  # the server is stopped all the same
    watched.gate.set()
    worker.join(5)
    assert not worker.is_alive()
    assert watched.closed.is_set()


@pytest.mark.parametrize("kind", ["waits", "floods", "floods_blocking"])
def test_a_responder_that_fails_while_closing_hurts_nobody(
    kind: str, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    closed = threading.Event()

    def fail() -> None:
        closed.set()
        raise Boom("while closing")

    responder = getattr(Watched(fail), kind)

    with LocalServer(responder=responder) as server:
        with wire(server.url) as connection:
            connection.read_until(chunks("first "))
        assert closed.wait(5)
        with wire(server.url) as connection:
            connection.read_until(chunks("first "))
    assert {record.name for record in caplog.records} == {"aichatfree_sdk.server"}


def test_a_client_that_leaves_in_the_middle_of_its_upload_is_no_news(caplog: pytest.LogCaptureFixture) -> None:

    with LocalServer() as server:
        host, port = server.url.removeprefix("http://").split(":")
        for path in ("/api/generate", "/api/auth"):
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert httpx.post(server.url + "/api/auth", json={}, trust_env=False).status_code == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_many_answers_at_once(signed: Callable[..., dict[str, Any]]) -> None:
    gate = threading.Barrier(50, timeout=10)  # opens only if fifty blocking responders run side by side

    def responder(messages: Messages) -> Iterator[str]:
        gate.wait()
        yield messages[-1].text

    async def main(url: str) -> list[str]:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
            calls = [client.post("/api/generate", json=signed(f"n{number}")) for number in range(50)]
            return [reply.text for reply in await asyncio.gather(*calls)]

    with LocalServer(responder=responder) as server:
        assert asyncio.run(main(server.url)) == [f"n{number}" for number in range(50)]
