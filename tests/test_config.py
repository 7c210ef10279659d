"""Arguments and environment: checked before any I/O, named when they are wrong."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable

import anyio
import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, Client, InvalidArgumentError, Settings, Timeout
from aichatfree_sdk.config import to_base_url
from aichatfree_sdk.testing import LocalServer, ScriptedTransport

CLIENTS = pytest.mark.parametrize("client_class", [Client, AsyncClient])


@CLIENTS
@pytest.mark.parametrize(
    ("options", "argument", "told"),
    [
        ({"base_url": "chat.example"}, "base_url", "an http(s) scheme and a host"),
        ({"base_url": ""}, "base_url", "an http(s) scheme and a host"),
        ({"base_url": "http://"}, "base_url", "an http(s) scheme and a host"),
        ({"base_url": "ftp://h"}, "base_url", "an http(s) scheme and a host"),
        ({"base_url": "http://h?x=1"}, "base_url", "a query or a fragment"),
        ({"base_url": "http://h/#"}, "base_url", "a query or a fragment"),
        ({"base_url": "http://h:0"}, "base_url", "an http(s) scheme and a host"),
        ({"base_url": "http://h:99999"}, "base_url", "an http(s) scheme and a host"),
        ({"base_url": "http://[::1"}, "base_url", "an http(s) scheme and a host"),
        ({"base_url": "http://u:canary@h"}, "base_url", "a user name or password"),
        ({"base_url": "http://h /"}, "base_url", "spaces or control characters"),
        ({"base_url": " http://h"}, "base_url", "spaces or control characters"),
        ({"base_url": "http://h\r\nX: y"}, "base_url", "spaces or control characters"),
        ({"base_url": "http://a,b"}, "base_url", "no host name"),
        ({"base_url": "http://.."}, "base_url", "no host name"),
        ({"base_url": "http://a..b"}, "base_url", "no host name"),
        ({"base_url": "http://" + "a" * 300}, "base_url", "no host name"),
        ({"base_url": "http://\u0130" + "ü" * 80}, "base_url", "no host name"),
        ({"base_url": 7}, "base_url", "must be a str, not int"),
        ({"password": "\ud800"}, "password", "lone surrogate"),
        ({"password": 7}, "password", "must be a str"),
        ({"secret": "\ud800"}, "secret", "lone surrogate"),
        ({"model": ""}, "model", "must not be empty"),
        ({"timeout": -1}, "timeout", "from above 0"),
        ({"timeout": 0}, "timeout", "from above 0"),
        ({"timeout": "5"}, "timeout", "a Timeout or a number"),
        ({"timeout": float("inf")}, "timeout", "a year"),
        ({"timeout": float("nan")}, "timeout", "a year"),
        ({"retry": 3}, "retry", "RetryPolicy(max_retries=0) for none"),
        ({"headers": {"X": "canary\r\nY: z"}}, "headers", "the value of X"),
        ({"headers": {"X": "canary\n"}}, "headers", "the value of X"),
        ({"headers": {"X": "canary "}}, "headers", "spaces at its ends"),
        ({"headers": {"X": "кот"}}, "headers", "ASCII"),
        ({"headers": {"X": b"canary"}}, "headers", "the value of X"),
        ({"headers": {"X Y": "z"}}, "headers", "no header name"),
        ({"headers": {"": "z"}}, "headers", "no header name"),
        ({"headers": {"Content-Length": "1"}}, "headers", "follows from the body"),
        ({"headers": ["X"]}, "headers", "must be a mapping"),
        ({"failure_trailer": ""}, "failure_trailer", "must not be empty"),
        ({"max_reply_bytes": 0}, "max_reply_bytes", "at least 1"),
        ({"max_connections": 0}, "max_connections", "at least 1"),
        ({"max_connections": 1.5}, "max_connections", "at least 1"),
        ({"proxy": "canary://u:canary@h"}, "proxy", "http, https or socks5"),
        ({"proxy": 7}, "proxy", "http, https or socks5"),
        ({"proxy": "socks5://u:canary@h"}, "proxy", "socksio"),
        ({"proxy": "http://[canary"}, "proxy", "http, https or socks5"),
        ({"proxy": "http://h", "transport": ScriptedTransport()}, "proxy", "set it there"),
        ({"transport": ScriptedTransport(), "http_client": httpx.Client()}, "transport", "together with http_client"),
        ({"transport": 5}, "transport", "must have the methods"),
        ({"http_client": object()}, "http_client", "httpx or httpx2"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_allowed(
    client_class: type[Client | AsyncClient], options: dict[str, object], argument: str, told: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client_class(**options)  # type: ignore[arg-type]
    assert caught.value.argument == argument
    assert told in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("clock", ["connect", "first_text", "idle", "total"])
@pytest.mark.parametrize("value", [-1, 0, "1", True, float("nan"), 1e12])
def test_a_bad_clock_is_named(clock: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"timeout\.{clock}: must be a number of seconds"):
        Timeout(**{clock: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_the_wrong_kind_of_http_client_is_named(library: object) -> None:
    name = library.__name__  # type: ignore[attr-defined]
    with pytest.raises(InvalidArgumentError, match=rf"must be a {name}\.Client here, not AsyncClient"):
        Client(http_client=library.AsyncClient())  # type: ignore[attr-defined]
    with pytest.raises(InvalidArgumentError, match=rf"must be a {name}\.AsyncClient here, not Client"):
        AsyncClient(http_client=library.Client())  # type: ignore[attr-defined]


def test_a_client_of_one_s_own_class_is_taken() -> None:
    class Mine(httpx2.Client):
        pass

    Client(http_client=Mine())


CALLS: dict[str, tuple[Callable[[Client], object], str]] = {
    "empty": (lambda c: c.stream(""), "prompt: must not be empty"),
    "surrogate": (lambda c: c.stream("a\udfff"), "prompt: has a lone surrogate (U+DFFF) at position 1"),
    "no messages": (lambda c: c.stream([]), "prompt: must hold at least one message"),
    "no str": (lambda c: c.stream(7), "prompt: must be a str, a Message or a sequence"),  # type: ignore[arg-type]
    "bytes": (lambda c: c.stream(b"q"), "prompt: must be a str, a Message or a sequence"),  # type: ignore[arg-type]
    "unknown role": (lambda c: c.stream([{"role": "tool", "content": "x"}]), "prompt[0]: role: must be"),
    "last not user": (lambda c: c.stream([{"role": "model", "content": "x"}]), "the user's, not the assistant's"),
    "only system": (lambda c: c.stream(sdk.Message("system", "x")), "the user's, not the system's"),
    "model": (lambda c: c.stream("q", model="gpt-5"), "model: this client's deployment serves 'gemini-1.5-pro'"),
    "timeout": (lambda c: c.stream("q", timeout=-1), "timeout: must be"),
    "retry": (lambda c: c.stream("q", retry=1), "retry: must be"),  # type: ignore[arg-type]
    "header": (lambda c: c.stream("q", headers={"X": "a\nb"}), "without a line break"),
    "conversation": (lambda c: c.stream("q", conversation=[]), "conversation: must be a Conversation, not list"),  # type: ignore[arg-type]
    "option": (lambda c: c.with_options(colour=1), "colour: is no option"),
    "pool option": (lambda c: c.with_options(max_connections=1), "max_connections: is no option"),
    "option value": (lambda c: c.with_options(base_url="x"), "base_url: must be like"),
    "option header": (lambda c: c.with_options(headers={"X": "\0"}), "headers: the value of X"),
}


@pytest.mark.parametrize(("call", "told"), CALLS.values(), ids=CALLS.keys())
def test_a_bad_call_raises_at_once_and_changes_nothing(call: Callable[[Client], object], told: str) -> None:
    transport = ScriptedTransport()
    client = Client(transport=transport)
    with pytest.raises(InvalidArgumentError) as caught:
        call(client)
    assert told in str(caught.value)
    assert transport.requests == ()


def test_a_bad_option_leaves_the_pool_open() -> None:
    with LocalServer() as server, Client(server.url) as client:
        for options in ({"colour": 1}, {"timeout": -1}, {"base_url": "x"}):
            with pytest.raises(InvalidArgumentError):
                client.with_options(**options)
            gc.collect()
            assert client.ask("still there").text == "You said: still there"


def test_loopback_is_not_asked_through_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def ask(url: str) -> str:
        async with AsyncClient(url) as client:
            return (await client.ask("q")).text

    with LocalServer() as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            with Client(url) as client:
                assert client.ask("q").text == "You said: q"
            assert anyio.run(ask, url) == "You said: q"
        # A host elsewhere goes through it, and the error says that it is the proxy that cannot be reached.
        with Client("http://chat.example", retry=sdk.RetryPolicy(max_retries=0)) as client:
            with pytest.raises(sdk.ConnectError, match=r"at the proxy 127\.0\.0\.1:9"):
                client.ask("q")


def test_a_bad_prompt_leaves_the_conversation_alone() -> None:
    chat = sdk.Conversation(messages=[sdk.Message("user", "q"), sdk.Message("assistant", "a")])
    before = chat.to_dict()
    for prompt in ("", "\ud800", [], [{"role": "assistant", "content": "x"}]):
        with pytest.raises(InvalidArgumentError):
            Client(transport=ScriptedTransport()).ask(prompt, conversation=chat)
    assert (chat.to_dict(), chat.busy) == (before, False)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://h", "http://h"),
        ("HTTPS://H.Example:8443/a/b//", "https://h.example:8443/a/b"),
        ("http://[::1]:80/", "http://[::1]:80"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("https://чат.рф/чат", "https://xn--80a0bn.xn--p1ai/%D1%87%D0%B0%D1%82"),
        ("http://h/a%20b", "http://h/a%20b"),
    ],
)
def test_a_base_url_in_its_plain_form(url: str, plain: str) -> None:
    assert to_base_url(url) == plain
    assert to_base_url(plain) == plain


@given(st.text() | st.text("htp:/s@[]?#.%:1aé ").map("http://".__add__))
def test_any_base_url_is_plain_or_refused(url: str) -> None:
    try:
        plain = to_base_url(url)
    except InvalidArgumentError:
        return
    assert plain.isascii()
    assert to_base_url(plain) == plain
    httpx.URL(plain)


@CLIENTS
def test_arguments_beat_the_environment_which_beats_the_defaults(
    client_class: type[Client | AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client_class().settings == Settings()
    assert Settings().base_url == "https://aichatfree.info"
    for name in ("BASE_URL", "PASSWORD", "SECRET"):
        monkeypatch.setenv(f"AICHATFREE_{name}", "http://env")
    settings = client_class().settings
    assert (settings.base_url, settings.password, settings.secret) == ("http://env", "http://env", "http://env")
    settings = client_class("http://arg", password="", secret="").settings
    assert (settings.base_url, settings.password, settings.secret) == ("http://arg", "", "")
    monkeypatch.setenv("AICHATFREE_PASSWORD", "")
    assert client_class().settings.password is None


def test_a_bad_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AICHATFREE_BASE_URL", "nowhere")
    with pytest.raises(InvalidArgumentError, match=r"base_url: \(of AICHATFREE_BASE_URL\) must be like"):
        Client()
    monkeypatch.setenv("AICHATFREE_BASE_URL", "http://h")
    monkeypatch.setenv("AICHATFREE_LOG", "loud")
    with pytest.raises(InvalidArgumentError, match="AICHATFREE_LOG: must be debug, info"):
        Client()


@CLIENTS
def test_a_bad_proxy_of_the_environment_is_named_without_its_password(
    client_class: type[Client | AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "foo://u:canary@h")
    with pytest.raises(InvalidArgumentError, match="HTTP_PROXY") as caught:
        client_class()
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


def test_the_log_goes_to_stderr_and_the_root_logger_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger, root = logging.getLogger("aichatfree_sdk"), logging.getLogger()
    before = (root.level, list(root.handlers))
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    monkeypatch.setenv("AICHATFREE_LOG", "debug")
    for _ in range(2):
        Client(transport=ScriptedTransport("a")).ask("canary")
    assert (root.level, list(root.handlers)) == before
    error = capsys.readouterr().err
    assert error.count("POST https://aichatfree.info/api/generate") == 2
    assert error.count("answered 200, HTTP/1.1, ended by chunked") == error.count("answer complete") == 2
    assert "canary" not in error


def test_a_client_s_repr_shows_where_it_goes_and_no_secret() -> None:
    client = Client("http://h", password="canary", secret="canary", headers={"X-Key": "canary"})
    assert repr(client) == "<Client of http://h>"
    assert "canary" not in repr(client.settings)
    assert "headers=['X-Key']" in repr(client.settings)
    assert "canary" not in repr(client.stream("canary"))
