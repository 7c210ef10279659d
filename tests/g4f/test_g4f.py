"""AIChatFree inside the real g4f: its clients, old and new, its retrying and its tool emulation, all on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest
from responders import Endless

from aichatfree_sdk import InvalidPasswordError, UnsupportedModelError
from aichatfree_sdk.provider import AIChatFree
from aichatfree_sdk.testing import LocalServer

# Not importorskip(): that also skips where g4f is there and something that it needs is not.
if find_spec("g4f") is None:
    pytest.skip("g4f is installed by the nox session g4f only", allow_module_level=True)

# An audit hook sees every connection and every name looked up, in any thread; it cannot be taken out again.
contacted: list[str] = []


def note_contact(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple):
        contacted.append(str(args[1][0]))
    elif event == "socket.getaddrinfo" and args[0] is not None:
        contacted.append(str(args[0]))


sys.addaudithook(note_contact)
g4f: Any = import_module("g4f")
g4f_client: Any = import_module("g4f.client")
g4f_providers: Any = import_module("g4f.Provider")
contacted_by_importing = tuple(contacted)

MODEL = "gemini-1.5-pro"
QUESTION = [{"role": "user", "content": "Привет, world!"}]
DELTAS = ["You said: ", "Привет, ", "world!"]
HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "Bye"},
]
FOLDED = [
    {"role": "user", "parts": [{"text": "Be brief.\n\nHello"}]},
    {"role": "model", "parts": [{"text": "Hi!"}]},
    {"role": "user", "parts": [{"text": "Bye"}]},
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # g4f knows no other


@pytest.fixture(autouse=True)
def only_loopback() -> Iterator[None]:
    contacted.clear()
    yield
    assert set(contacted) <= {"127.0.0.1"}


@pytest.fixture(autouse=True)
def own_g4f(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep g4f out of the home directory, where it logs every answer's usage, and off pypi.org."""
    monkeypatch.setattr("g4f.cookies.CookiesConfig.cookies_dir", str(tmp_path))
    monkeypatch.setattr("g4f.debug.version_check", False)
    monkeypatch.setattr("g4f.config.AppConfig.proxy", None)
    monkeypatch.setattr(AIChatFree, "live", 0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as server:
        monkeypatch.setenv("AICHATFREE_BASE_URL", server.url)
        yield server


def new_async_client(**options: Any) -> Any:
    return g4f_client.AsyncClient(provider=AIChatFree, **options)


def new_client(**options: Any) -> Any:
    return g4f_client.Client(provider=AIChatFree, **options)


def texts(chunks: list[Any]) -> list[str]:
    return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]


def test_importing_g4f_contacts_nobody() -> None:
    assert contacted_by_importing == ()


@pytest.mark.anyio
@pytest.mark.parametrize("model", [MODEL, ""])
async def test_async_streaming(server: LocalServer, model: str) -> None:
    stream = new_async_client().chat.completions.create(model=model, messages=QUESTION, stream=True)
    chunks = [chunk async for chunk in stream]
    assert texts(chunks) == DELTAS
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert AIChatFree.live == 1


@pytest.mark.anyio
async def test_async_whole(server: LocalServer) -> None:
    completion = await new_async_client().chat.completions.create(model=MODEL, messages=QUESTION)
    assert completion.choices[0].message.content == "".join(DELTAS)
    assert (completion.provider, completion.model) == ("AIChatFree", MODEL)


@pytest.mark.anyio
async def test_async_history(server: LocalServer) -> None:
    await new_async_client().chat.completions.create(model=MODEL, messages=HISTORY)
    assert server.requests[0]["messages"] == FOLDED


@pytest.mark.parametrize("model", [MODEL, ""])
def test_blocking_streaming(server: LocalServer, model: str) -> None:
    chunks = list(new_client().chat.completions.create(model=model, messages=QUESTION, stream=True))
    assert texts(chunks) == DELTAS
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert AIChatFree.live == 1


def test_blocking_whole(server: LocalServer) -> None:
    completion = new_client().chat.completions.create(model=MODEL, messages=QUESTION)
    assert completion.choices[0].message.content == "".join(DELTAS)


def test_blocking_history(server: LocalServer) -> None:
    new_client().chat.completions.create(model=MODEL, messages=HISTORY)
    assert server.requests[0]["messages"] == FOLDED


def test_the_old_interface(server: LocalServer) -> None:
    answer = g4f.ChatCompletion.create(MODEL, QUESTION, provider=AIChatFree)
    assert str(answer) == "".join(DELTAS)
    assert list(g4f.ChatCompletion.create(MODEL, QUESTION, provider=AIChatFree, stream=True)) == DELTAS


@pytest.mark.anyio
async def test_the_old_async_interface(server: LocalServer) -> None:
    assert str(await g4f.ChatCompletion.create_async(MODEL, QUESTION, provider=AIChatFree)) == "".join(DELTAS)


@pytest.mark.anyio
async def test_a_deployment_named_to_g4f(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AICHATFREE_BASE_URL", "http://127.0.0.1:1")
    with LocalServer(password="open sesame", secret="s3cr3t") as server:
        client = new_async_client(base_url=server.url, api_key="any")
        options = {"password": "open sesame", "secret": "s3cr3t", "timeout": 30, "temperature": 0.5}
        completion = await client.chat.completions.create(QUESTION, MODEL, **options)
    assert completion.choices[0].message.content == "".join(DELTAS)


@pytest.mark.anyio
async def test_with_a_clock_of_g4f_itself(server: LocalServer) -> None:
    stream = new_async_client().chat.completions.create(QUESTION, MODEL, stream=True, stream_timeout=30)
    assert texts([chunk async for chunk in stream]) == DELTAS


def test_the_models_are_listed() -> None:
    assert new_client(api_key="any").models.get_all() == [MODEL]


@pytest.mark.anyio
async def test_errors_pass_unchanged_through_the_async_client() -> None:
    with LocalServer(password="open sesame") as server:
        completions = new_async_client(base_url=server.url).chat.completions
        with pytest.raises(InvalidPasswordError):
            await completions.create(QUESTION, MODEL)
        with pytest.raises(InvalidPasswordError):
            async for _ in completions.create(QUESTION, MODEL, stream=True):
                pass
        with pytest.raises(UnsupportedModelError):
            await completions.create(QUESTION, "gpt-4o")


def test_errors_pass_unchanged_through_the_blocking_client() -> None:
    with LocalServer(password="open sesame") as server:
        completions = new_client(base_url=server.url).chat.completions
        with pytest.raises(InvalidPasswordError):
            completions.create(QUESTION, MODEL)
        with pytest.raises(UnsupportedModelError):
            completions.create(QUESTION, "gpt-4o")


@pytest.mark.anyio
@pytest.mark.parametrize("options", [{}, {"stream_timeout": 30}], ids=["no clock", "g4f's clock"])
async def test_leaving_the_async_client_early_hangs_up(options: dict[str, Any]) -> None:
    responder = Endless()
    with LocalServer(responder=responder) as server:
        client = new_async_client(base_url=server.url)
        stream = client.chat.completions.create(QUESTION, MODEL, stream=True, max_tokens=1, **options)
        assert texts([chunk async for chunk in stream]) == ["Once"]
        assert await anyio.to_thread.run_sync(responder.left.wait, 10)


def test_leaving_the_blocking_client_early_hangs_up() -> None:
    responder = Endless()
    with LocalServer(responder=responder) as server:
        stream = new_client(base_url=server.url).chat.completions.create(QUESTION, MODEL, stream=True)
        assert texts([next(stream)]) == ["Once"]
        stream.close()
        assert responder.left.wait(10)


@pytest.mark.anyio
async def test_in_a_list_of_providers_to_try(server: LocalServer) -> None:
    class Broken(AIChatFree):
        url = "http://127.0.0.1:1"
        default_model = "another-model"

    for kind in (g4f_providers.IterListProvider, g4f_providers.RetryProvider, g4f_providers.RotatedProvider):
        client = g4f_client.AsyncClient(provider=kind([Broken, AIChatFree], shuffle=False))
        completion = await client.chat.completions.create(QUESTION, MODEL)
        assert completion.choices[0].message.content == "".join(DELTAS)


@pytest.mark.anyio
async def test_tools_are_emulated_by_g4f() -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    with LocalServer(responder='{"tool_calls": [{"name": "add", "arguments": {"a": 1}}]}') as server:
        completion = await new_async_client(base_url=server.url).chat.completions.create(QUESTION, MODEL, tools=[tool])
    (call,) = completion.choices[0].message.tool_calls
    assert call.function.name == "add"
