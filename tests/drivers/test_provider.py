"""AIChatFree without g4f: what a program sees that reads the provider's generator itself."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections.abc import Iterator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import aiohttp
import anyio
import anyio.to_thread
import pytest
from responders import Endless
from scripted_server import ScriptedServer, answer

import aichatfree_sdk
from aichatfree_sdk import InvalidArgumentError, InvalidPasswordError, Timeout, TotalTimeoutError, UnsupportedModelError
from aichatfree_sdk import provider as provider_module
from aichatfree_sdk.provider import AIChatFree, generate_signature
from aichatfree_sdk.testing import LocalServer
from aichatfree_sdk.transports.base import AsyncResponse, Limits, Request
from aichatfree_sdk.transports.httpx import AsyncHttpxTransport

QUESTION = [{"role": "user", "content": "Привет, world!"}]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as server:
        monkeypatch.setenv("AICHATFREE_BASE_URL", server.url)
        yield server


class RecordingTransport:
    """A real transport that keeps what it was asked to send."""

    def __init__(self) -> None:
        self.inner = AsyncHttpxTransport(max_connections=1)
        self.requests: list[Request] = []
        self.closed = False

    async def open(self, request: Request, limits: Limits) -> AsyncResponse:
        self.requests.append(request)
        return await self.inner.open(request, limits)

    async def aclose(self) -> None:
        self.closed = True
        await self.inner.aclose()


async def read(*args: Any, **kwargs: Any) -> list[str]:
    async with aclosing(AIChatFree.create_async_generator(*args, **kwargs)) as deltas:
        return [delta async for delta in deltas]


def test_names_and_arguments_are_those_of_the_original() -> None:
    assert (AIChatFree.url, AIChatFree.default_model) == ("https://aichatfree.info", "gemini-1.5-pro")
    assert AIChatFree.working is AIChatFree.supports_stream is AIChatFree.supports_message_history is True
    parameters = inspect.signature(AIChatFree.create_async_generator).parameters
    assert list(parameters) == ["model", "messages", "proxy", "connector", "kwargs"]
    assert parameters["proxy"].default is parameters["connector"].default is None


def test_the_signature_function_is_the_original_and_the_same_everywhere() -> None:
    assert generate_signature is aichatfree_sdk.generate_signature is provider_module.generate_signature
    parameters = inspect.signature(generate_signature).parameters
    assert list(parameters) == ["time", "text", "secret"]
    assert parameters["secret"].default == ""
    expected = "690541cd6fe27026027e96b6934f66b18e521aaf07829ed8a78ec0232c88f060"
    assert generate_signature(1700000000000, "Привет!") == expected


def test_what_g4f_asks_of_a_provider() -> None:
    assert AIChatFree.get_dict() == {"name": "AIChatFree", "url": "https://aichatfree.info", "label": None}
    assert AIChatFree.get_parent() == "AIChatFree"
    assert AIChatFree.get_models(api_key="any") == ["gemini-1.5-pro"]


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["gemini-1.5-pro", "", None])
async def test_the_answer_is_streamed(server: LocalServer, model: str | None) -> None:
    assert await read(model, QUESTION) == ["You said: ", "Привет, ", "world!"]


@pytest.mark.anyio
async def test_the_history_is_sent(server: LocalServer) -> None:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello", "name": "Ann"},
        {"role": "assistant", "content": "Hi!", "tool_calls": None},
        {"role": "user", "content": "Bye"},
    ]
    await read("", history)
    assert server.requests[0]["messages"] == [
        {"role": "user", "parts": [{"text": "Be brief.\n\nHello"}]},
        {"role": "model", "parts": [{"text": "Hi!"}]},
        {"role": "user", "parts": [{"text": "Bye"}]},
    ]


@pytest.mark.anyio
async def test_arguments_beat_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AICHATFREE_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AICHATFREE_PASSWORD", "wrong")
    monkeypatch.setenv("AICHATFREE_SECRET", "wrong")
    with LocalServer(password="open sesame", secret="s3cr3t") as server:
        options: dict[str, Any] = {"base_url": server.url, "password": "open sesame", "secret": "s3cr3t"}
        assert "".join(await read("", QUESTION, **options)) == "You said: Привет, world!"


@pytest.mark.anyio
async def test_password_and_secret_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AICHATFREE_PASSWORD", "open sesame")
    monkeypatch.setenv("AICHATFREE_SECRET", "s3cr3t")
    with LocalServer(password="open sesame", secret="s3cr3t") as server:
        assert "".join(await read("", QUESTION, base_url=server.url)) == "You said: Привет, world!"


@pytest.mark.anyio
async def test_a_subclass_is_a_provider_of_another_deployment(server: LocalServer) -> None:
    with LocalServer(responder="from elsewhere") as elsewhere:

        class Elsewhere(AIChatFree):
            url: ClassVar[str] = elsewhere.url
            default_model: ClassVar[str] = "another-model"

        async with aclosing(Elsewhere.create_async_generator("another-model", QUESTION)) as deltas:
            assert "".join([delta async for delta in deltas]) == "from elsewhere"
    assert Elsewhere.get_models() == ["another-model"]
    assert Elsewhere.get_dict()["url"] == elsewhere.url
    assert server.requests == ()


@pytest.mark.anyio
async def test_what_g4f_passes_besides_is_ignored(server: LocalServer) -> None:
    others = {"stream": True, "temperature": 0.5, "conversation": None, "provider": AIChatFree, "api_key": "any"}
    unset = dict.fromkeys(("base_url", "password", "secret", "timeout", "headers"))
    assert "".join(await read("", QUESTION, "", None, **others, **unset)) == "You said: Привет, world!"
    assert server.requests[0].keys() == {"messages", "time", "pass", "sign"}


@pytest.mark.anyio
async def test_a_transport_is_used_and_left_open(server: LocalServer) -> None:
    transport = RecordingTransport()
    assert "".join(await read("", QUESTION, connector=transport)) == "You said: Привет, world!"
    assert "".join(await read("", QUESTION, None, transport, headers={"X-Trace": "7"})) == "You said: Привет, world!"
    assert len(transport.requests) == 2
    assert ("X-Trace", "7") in transport.requests[1].headers
    assert not transport.closed
    await transport.aclose()


@pytest.mark.parametrize(
    ("connector", "name"),
    [
        (object(), "object"),
        ("http://user:hunter2@127.0.0.1:3128", "str"),
        (AsyncHttpxTransport, "the class AsyncHttpxTransport"),
        (BaseHTTPRequestHandler, "the class BaseHTTPRequestHandler"),
        (threading.Lock(), "lock"),
        (aiohttp.TCPConnector, "the class TCPConnector"),
    ],
    ids=["object", "proxy URL", "transport class", "other class", "lock", "connector class"],
)
def test_anything_else_as_connector_is_a_type_error_at_once(connector: Any, name: str) -> None:
    with pytest.raises(
        TypeError, match=f"connector must be None, an aiohttp connector, or an async .*, not {name}$"
    ) as caught:
        AIChatFree.create_async_generator("", QUESTION, connector=connector)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"proxy": "nonsense"}, "proxy: must be an http"),
        ({"proxy": "http://127.0.0.1:3128", "connector": RecordingTransport()}, "proxy: cannot be given together"),
        ({"base_url": ""}, "base_url: must be like"),
        ({"timeout": -1}, "timeout: must be a number"),
        ({"headers": {"X-Trace": "a\nb"}}, "headers: the value of X-Trace"),
    ],
    ids=["proxy", "proxy and connector", "base_url", "timeout", "headers"],
)
def test_an_option_that_cannot_work_is_refused_at_once(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        AIChatFree.create_async_generator("", QUESTION, **options)


@pytest.mark.anyio
async def test_a_wrong_model_is_refused_before_anything_is_sent(server: LocalServer) -> None:
    deltas = AIChatFree.create_async_generator("gpt-4o", QUESTION)
    with pytest.raises(UnsupportedModelError, match="gpt-4o"):
        await anext(deltas)
    assert server.requests == ()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "at least one message"),
        (None, "messages: must be a str, a Message or a sequence of messages, not NoneType"),
        ([{"role": "assistant", "content": "Hi!"}], "last message must be the user's"),
        ([{"role": "tool", "content": "42"}], r"messages\[0\]: role"),
        ([{"role": "user"}], r"messages\[0\]: content: is missing"),
        ([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], r"messages\[0\]: content: must be a str"),
        (["Hello"], r"messages\[0\]: must be a Message or a mapping, not str"),
    ],
    ids=["none", "None", "no question", "unknown role", "no content", "parts", "str"],
)
async def test_bad_messages_are_refused_before_anything_is_sent(
    server: LocalServer, messages: Any, problem: str
) -> None:
    deltas = AIChatFree.create_async_generator("", messages)
    with pytest.raises(InvalidArgumentError, match=problem):
        await anext(deltas)
    assert server.requests == ()


@pytest.mark.anyio
async def test_an_unread_generator_sends_and_holds_nothing(server: LocalServer) -> None:
    deltas = AIChatFree.create_async_generator("", QUESTION)
    del deltas
    closed = AIChatFree.create_async_generator("", QUESTION)
    await closed.aclose()
    gc.collect()
    assert server.requests == ()


@pytest.mark.anyio
async def test_closing_early_hangs_up() -> None:
    responder = Endless()
    with LocalServer(responder=responder) as server:
        async with aclosing(AIChatFree.create_async_generator("", QUESTION, base_url=server.url)) as deltas:
            async for delta in deltas:
                assert delta == "Once"
                break
        del deltas
        gc.collect()
        assert await anyio.to_thread.run_sync(responder.left.wait, 10)


@pytest.mark.anyio
async def test_closing_early_gives_a_transports_connection_back() -> None:
    transport = RecordingTransport()  # of one connection
    with LocalServer(responder=Endless()) as server:
        for _ in range(2):
            options = {"base_url": server.url, "connector": transport, "timeout": 10}
            async with aclosing(AIChatFree.create_async_generator("", QUESTION, **options)) as deltas:
                assert await anext(deltas) == "Once"
        await transport.aclose()
    assert len(transport.requests) == 2


ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


@pytest.mark.anyio
@ON_ASYNCIO
async def test_an_aiohttp_connector_is_used_and_left_open(anyio_backend: str) -> None:
    with ScriptedServer(then=answer("one ", "two")) as server:
        async with aiohttp.TCPConnector() as connector:
            for _ in range(2):
                assert await read("", QUESTION, base_url=server.url, connector=connector) == ["one ", "two"]
            assert not connector.closed
    assert server.served == [1, 1]


@pytest.mark.anyio
@ON_ASYNCIO
async def test_closing_early_hangs_up_on_an_aiohttp_connector(anyio_backend: str) -> None:
    responder = Endless()
    with LocalServer(responder=responder) as server:
        async with aiohttp.TCPConnector() as connector:
            options = {"base_url": server.url, "connector": connector}
            async with aclosing(AIChatFree.create_async_generator("", QUESTION, **options)) as deltas:
                assert await anext(deltas) == "Once"
            assert await anyio.to_thread.run_sync(responder.left.wait, 10)
            assert not connector.closed


@pytest.mark.anyio
@ON_ASYNCIO
async def test_an_aiohttp_connector_goes_through_a_proxy(anyio_backend: str, proxy_url: str) -> None:
    async with aiohttp.TCPConnector() as connector:
        with pytest.raises(InvalidArgumentError, match="proxy: must be an http or https URL"):
            AIChatFree.create_async_generator("", QUESTION, "socks5://127.0.0.1:1080", connector)
        assert await read("", QUESTION, proxy_url, connector, base_url="http://chat.invalid") == ["via proxy"]
    assert Proxy.targets == ["http://chat.invalid/api/generate"]


def test_an_aiohttp_connector_is_refused_on_trio(server: LocalServer) -> None:
    async def make() -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector()

    async def main() -> None:
        with pytest.raises(InvalidArgumentError, match="runs on asyncio only"):
            await read("", QUESTION, connector=connector)

    with asyncio.Runner() as runner:
        connector = runner.run(make())
        anyio.run(main, backend="trio")
        runner.run(connector.close())
    assert server.requests == ()


@pytest.mark.anyio
async def test_every_delta_may_be_read_by_another_task(server: LocalServer) -> None:
    received: list[str] = []
    deltas = AIChatFree.create_async_generator("", QUESTION)

    async def read_one() -> None:
        received.append(await anext(deltas))

    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_one)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deltas.aclose)
    assert received == ["You said: ", "Привет, "]


@pytest.mark.anyio
async def test_a_cancelled_reader_hangs_up() -> None:
    responder = Endless()
    with LocalServer(responder=responder) as server, anyio.CancelScope() as scope:
        async for _ in AIChatFree.create_async_generator("", QUESTION, base_url=server.url):
            scope.cancel()
    assert scope.cancelled_caught
    assert responder.left.wait(10)


def test_the_end_of_the_loop_closes_a_generator_that_is_still_held() -> None:
    problems: list[object] = []

    async def read_one_delta(url: str) -> object:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        deltas = AIChatFree.create_async_generator("", QUESTION, base_url=url)
        assert await anext(deltas) == "Once"
        return deltas

    responder = Endless()
    with LocalServer(responder=responder) as server:
        # asyncio.run() closes all generators at once, httpx's below ours too, in the order of a set: 20 orders.
        for _ in range(20):
            held = asyncio.run(read_one_delta(server.url))
            del held
            gc.collect()
        assert responder.left.wait(10)
    assert problems == []


@pytest.mark.anyio
async def test_errors_pass_unchanged() -> None:
    with LocalServer(password="open sesame") as server, pytest.raises(InvalidPasswordError) as caught:
        await read("", QUESTION, base_url=server.url, password="wrong")
    assert caught.value.status == 401


@pytest.mark.anyio
@pytest.mark.parametrize("timeout", [0.2, Timeout(total=0.2)], ids=["seconds", "Timeout"])
async def test_the_timeout_is_that_of_the_whole_call(timeout: Timeout | float) -> None:
    with LocalServer(responder=Endless()) as server, pytest.raises(TotalTimeoutError):
        await read("", QUESTION, base_url=server.url, timeout=timeout)


class Proxy(BaseHTTPRequestHandler):
    """A proxy that answers everything itself."""

    targets: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.targets.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "9")
        self.end_headers()
        self.wfile.write(b"via proxy")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def proxy_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_port}"
        proxy.shutdown()
        thread.join()
    Proxy.targets.clear()


@pytest.mark.anyio
async def test_the_proxy_is_used(proxy_url: str) -> None:
    assert await read("", QUESTION, proxy_url, base_url="http://chat.invalid") == ["via proxy"]
    assert Proxy.targets == ["http://chat.invalid/api/generate"]
