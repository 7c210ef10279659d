"""What the package promises to type checkers. mypy and pyright read this file (`nox -s types`); nothing runs it.

A line that must be rejected carries an ignore comment, and both complain about one that is not needed: a call that
either of them begins to accept is an error here.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal, assert_type

import aiohttp

from aichatfree_sdk import (
    AIChatFreeError,
    APIStatusError,
    AsyncClient,
    AsyncStream,
    Client,
    ConnectTimeoutError,
    Conversation,
    ConversationFileError,
    InvalidArgumentError,
    InvalidSignatureError,
    Message,
    RateLimitError,
    Reply,
    RetryBudget,
    RetryPolicy,
    Settings,
    Stream,
    Timeout,
    Timing,
    generate_signature,
)
from aichatfree_sdk.provider import AIChatFree
from aichatfree_sdk.server import ChatMessage, create_app, echo_responder, scripted_responder
from aichatfree_sdk.testing import AsyncScriptedTransport, LocalServer, ScriptedResponse, ScriptedTransport
from aichatfree_sdk.transports.aiohttp import AiohttpTransport
from aichatfree_sdk.transports.httpx import AsyncHttpxTransport


def blocking() -> None:
    with Client("https://chat.example.org", password="p", secret="s", timeout=5, max_connections=2) as client:
        assert_type(client, Client)
        stream = client.stream("Hello", timeout=Timeout(total=5), headers={"X-Trace": "1"})
        assert_type(stream, Stream)
        with stream as entered:
            assert_type(entered, Stream)
            for delta in entered:
                assert_type(delta, str)
        assert_type(stream.text, str)
        assert_type(stream.reply, Reply)
        assert_type(stream.drain(), Reply)
        iterator: Iterator[str] = stream
        assert_type(next(iterator), str)
        assert_type(client.ask("Hello"), Reply)
        assert_type(client.check_password(), bool)
        assert_type(client.with_options(timeout=3), Client)
        assert_type(client.closed, bool)
        assert_type(client.settings, Settings)


async def asynchronous() -> None:
    async with AsyncClient(retry=RetryPolicy(max_retries=0), proxy=None) as client:
        assert_type(client, AsyncClient)
        stream = client.stream("Hello")
        assert_type(stream, AsyncStream)
        async with stream as entered:
            assert_type(entered, AsyncStream)
            async for delta in entered:
                assert_type(delta, str)
        assert_type(stream.text, str)
        assert_type(stream.reply, Reply)
        assert_type(await stream.drain(), Reply)
        iterator: AsyncIterator[str] = stream
        assert_type(await anext(iterator), str)
        assert_type(await client.ask("Hello"), Reply)
        assert_type(await client.check_password(), bool)
        assert_type(client.with_options(model="m"), AsyncClient)


def prompts(client: Client) -> None:
    client.ask(Message("user", "Hello"))
    client.ask([Message("user", "Hello"), {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "More"}])
    client.ask(({"role": "user", "content": "Hello"},))


def conversations(path: Path) -> None:
    chat = Conversation(system="Be brief.", max_messages=9, on_interrupt="keep")
    assert_type(chat.messages, tuple[Message, ...])
    assert_type(chat.system, str | None)
    assert_type(chat.last, Message | None)
    assert_type(chat.fork(), Conversation)
    assert_type(chat.undo(), tuple[Message, ...])
    assert_type(chat.to_dict(), dict[str, Any])
    assert_type(Conversation.from_dict(chat.to_dict()), Conversation)
    assert_type(Conversation.load(path), Conversation)
    chat.save(str(path))
    message = Message("model", "Hi", partial=True)
    assert_type(message.role, Literal["user", "assistant", "system"])
    assert_type(message.content, str)
    assert_type(message.partial, bool)


def replies(reply: Reply) -> None:
    assert_type(reply.text, str)
    assert_type(reply.message, Message)
    assert_type(reply.timing, Timing)
    assert_type(reply.timing.first_text, float)
    assert_type(reply.ended_by, Literal["chunked", "length", "close"])
    assert_type(reply.retries, int)


def errors(error: AIChatFreeError) -> None:
    assert_type(error.partial_text, str)
    assert_type(error.retries, int)
    match error:
        case InvalidSignatureError():
            assert_type(error.clock_skew, float | None)
        case RateLimitError():
            assert_type(error.retry_after, float | None)
        case APIStatusError():
            assert_type(error.status, int)
            assert_type(error.headers, tuple[tuple[str, str], ...])
            assert_type(error.body, bytes)
            assert_type(error.server_message, str)
        case InvalidArgumentError():
            assert_type(error.argument, str)
            _value_error: ValueError = error
        case ConversationFileError():
            assert_type(error.path, str)
        case ConnectTimeoutError():
            _timeout_error: TimeoutError = error
        case _:
            pass


def small_things() -> None:
    assert_type(Timeout().connect, float | None)
    assert_type(RetryPolicy().max_retries, int)
    assert_type(RetryBudget(capacity=5).tokens, float)
    assert_type(generate_signature(1_700_000_000_000, "Hello", "secret"), str)
    assert_type(generate_signature(1_700_000_000_000, "Hello"), str)


async def provider(proxy: str | None) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    assert_type(AIChatFree.create_async_generator("gemini-1.5-pro", messages), AsyncGenerator[str, None])
    async with aiohttp.TCPConnector() as connector:
        AIChatFree.create_async_generator("", messages, proxy, connector)
        AIChatFree.create_async_generator("", messages, connector=AiohttpTransport(connector, max_connections=1000))
    AIChatFree.create_async_generator("", messages, connector=AsyncHttpxTransport())
    assert_type(AIChatFree.default_model, str)


async def own_model(messages: tuple[ChatMessage, ...]) -> AsyncIterator[str]:
    yield messages[-1].text


def servers() -> None:
    create_app(password="p", responder=own_model)
    create_app(responder=scripted_responder(["Hello"]))
    create_app(responder=lambda messages: [message.text for message in messages])
    with LocalServer(password="p", responder=echo_responder) as server:
        assert_type(server, LocalServer)
        assert_type(server.url, str)
        assert_type(server.password, str | None)
        assert_type(server.requests, tuple[dict[str, Any], ...])
    LocalServer(responder="The answer, word by word.")


def transports() -> None:
    Client(transport=ScriptedTransport("Hello", ["Hel", "lo"], ScriptedResponse(status=404)))
    AsyncClient(transport=AsyncScriptedTransport("Hello"))


async def rejected(client: Client, async_client: AsyncClient, chat: Conversation, reply: Reply) -> None:
    client.stream(1)  # type: ignore[arg-type]
    client.stream(b"Hello")  # type: ignore[arg-type]
    client.stream("Hello", None)  # type: ignore[call-arg]
    client.stream("Hello", temperature=0.5)  # type: ignore[call-arg]
    client.ask("Hello", timeout="5")  # type: ignore[arg-type]
    client.ask("Hello", headers=[("X-Trace", "1")])  # type: ignore[arg-type]
    aiter(client.stream("Hello"))  # type: ignore[arg-type]
    iter(async_client.stream("Hello"))  # type: ignore[call-overload]
    async_client.ask("Hello").strip()  # type: ignore[attr-defined]
    Client(max_conections=5)  # type: ignore[call-arg]
    Client("https://chat.example.org", "password")  # type: ignore[call-arg]
    Client(transport=AsyncScriptedTransport())  # type: ignore[arg-type]
    AsyncClient(transport=ScriptedTransport())  # type: ignore[arg-type]
    chat.messages = ()  # type: ignore[misc]
    chat.messages.append(Message("user", "Hello"))  # type: ignore[attr-defined]
    Conversation(on_interrupt="forget")  # type: ignore[arg-type]
    reply.text = ""  # type: ignore[misc]
    _cut: Literal["cut"] = reply.ended_by  # type: ignore[assignment]
    generate_signature("1700000000000", "Hello")  # type: ignore[arg-type]
