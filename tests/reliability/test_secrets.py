"""The password, the secret and what is made of them are in nothing that anybody can see but the server they are for."""

from __future__ import annotations

import base64
import contextlib
import html
import itertools
import json
import logging
import pickle
import signal
import socket
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import hygiene
import pytest
from canaries import CANARIES, Canary, everything, leaks, told
from cases import Cases
from command import COMMAND, PATIENCE, environment
from runtimes import LIBRARIES, RUNTIMES, Runtime
from scripted_server import CHUNKED, END, Do, ScriptedServer, Step, Take, answer, chunk, head, whole
from tls import authority, server_context
from tunnel import Tunnel

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, Client, Conversation, RetryPolicy, Timeout
from aichatfree_sdk.server import create_app
from aichatfree_sdk.testing import LocalServer

ROW = "secrets"
TOKEN = "platypus-1234567"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
NO_RETRY = RetryPolicy(max_retries=0)
EVERY_RUNTIME = pytest.mark.parametrize(
    "runtime",
    [pytest.param(it, marks=[pytest.mark.full] * (not it.own), id=it.id) for it in RUNTIMES],
)
QUICK = ["plain", "quotes and backslashes", "not ASCII"]
EVERY_CANARY = pytest.mark.parametrize(
    "canary",
    [pytest.param(it, id=name, marks=[pytest.mark.full] * (name not in QUICK)) for name, it in CANARIES.items()],
)


def response(start: str, *headers: str | bytes, body: bytes = b"") -> list[Step]:
    """A response whose headers are any bytes."""
    lines = [start, *headers, f"content-length: {len(body)}"]
    return [b"\r\n".join(line.encode() if isinstance(line, str) else line for line in lines) + b"\r\n\r\n" + body]


def message(text: str, *, ascii_only: bool = False) -> str:
    return json.dumps({"error": {"message": text, "code": "Error"}}, ensure_ascii=ascii_only)


# What a server can make of the head and the body of a request and of our secrets; none of it is asked again.
Echo = Callable[[str, str, Canary], list[Step]]
ECHOES: dict[str, Echo] = {
    "the body, in a message": lambda _, body, __: whole(400, message(f"you sent {body}")),
    "the body, in a message in ASCII": lambda _, body, __: whole(500, message(body, ascii_only=True)),
    "the headers, in a message": lambda head, _, __: whole(400, message(head)),
    "the secrets, in a message": lambda _, __, it: whole(401, message(f"Invalid password. {it.password}{it.secret}")),
    "the body": lambda _, body, __: whole(401, body),
    "the body, in HTML": lambda _, body, __: whole(500, f"<pre>{html.escape(body)}</pre>"),
    "the body, as Python shows it": lambda _, body, __: whole(403, repr(body.encode())),
    "the body, cut": lambda _, body, it: [
        head(400, "content-length: 9999") + body.partition(it.password[-1])[0].encode(),
        Do.CLOSE,
    ],
    "the password, cut": lambda _, __, it: [head(400, "content-length: 999") + it.password.encode()[:-1], Do.CLOSE],
    "the secret, where a body is cut": lambda _, __, it: whole(400, b"x" * 65_530 + it.secret.encode()),
    "the body, in a header": lambda _, body, __: response("HTTP/1.1 404 X", f"x-echo: {body}"),
    "the body, in a header, encoded": lambda _, body, __: response("HTTP/1.1 404 X", f"x-echo: {quote(body)}"),
    "the password, in the name of a header": lambda _, __, it: response("HTTP/1.1 404 X", f"{it.password}: 1"),
    "the headers, in a header": lambda head, _, __: response("HTTP/1.1 404 X", "x-echo: " + head.replace("\r\n", " ")),
    "the body, in the status line": lambda _, body, __: response(f"HTTP/1.1 404 {body}"),
    "the body, in a redirect's query": lambda _, body, __: response("HTTP/1.1 307 X", f"location: /?{quote(body)}"),
    "the body, in a redirect's path": lambda _, body, __: response("HTTP/1.1 307 X", f"location: /{quote(body)}"),
    "the password, in a redirect": lambda _, __, it: response("HTTP/1.1 302 X", f"location: //x/{it.password}"),
    "the secrets, in a redirect": lambda _, __, it: response(
        "HTTP/1.1 308 X", f"location: http://{quote(it.password, safe='')}:{quote(it.secret, safe='').lower()}@x/"
    ),
    "the secrets, in a redirect's fragment": lambda _, __, it: response(
        "HTTP/1.1 301 X", f"location: http://x/{it.secret}#{it.password}"
    ),
    "the password, as a compression": lambda _, __, it: response("HTTP/1.1 200 X", f"content-encoding: {it.password}"),
    "the password, as times": lambda _, __, it: response(
        "HTTP/1.1 403 X", f"retry-after: {it.password}", f"date: {it.secret}"
    ),
    "the body, as the size of a chunk": lambda _, body, __: [CHUNKED, f"{body}\r\n".encode(), Do.CLOSE],
    "the body, as a length": lambda _, body, __: [head(200, f"content-length: {body}"), Do.CLOSE],
    "the body, as a header": lambda _, body, __: [head(200, body), Do.CLOSE],
    "the body, as no HTTP": lambda _, body, __: [f"{body}\r\n\r\n".encode(), Do.CLOSE],
    "the body, as a version": lambda _, body, __: [f"HTTP/{body} 200 X\r\n\r\n".encode(), Do.CLOSE],
}


@contextlib.contextmanager
def echoing(canary: Canary, echoes: Iterable[str] = ECHOES, *first: list[Step]) -> Iterator[ScriptedServer]:
    """Echo in these ways, one a request, with a good answer after each; what comes ``first`` comes before them all."""

    def script(echo: Echo) -> Iterator[Step]:
        yield Take()
        body = json.dumps(server.requests[-1], ensure_ascii=False, separators=(",", ":"))
        yield from echo(server.heads[-1], body, canary)

    scripts = (each for name in echoes for each in (script(ECHOES[name]), answer("fine")))
    with ScriptedServer(*first, *scripts) as server:
        yield server


def secrets_of(canary: Canary, server: ScriptedServer | None = None) -> list[str]:
    """Return what must not be seen: what the canary is, what is made of it for the requests, and the user's header."""
    signs = [request["sign"] for request in server.requests if "sign" in request] if server is not None else []
    return [canary.password, canary.secret, TOKEN, *signs]


@EVERY_RUNTIME
def test_a_server_that_echoes(runtime: Runtime, caplog: pytest.LogCaptureFixture, cases: Cases) -> None:
    # What httpx and httpcore log of a response is what the server said, and theirs to keep.
    caplog.set_level(logging.DEBUG, "aichatfree_sdk")
    for name in cases.choose(QUICK, list(CANARIES)):
        canary, chat = CANARIES[name], Conversation()
        caplog.clear()
        with cases.case(name), echoing(canary) as server:
            calls = [{"prompt": "q", "headers": HEADERS, "conversation": chat}, {"prompt": "next"}] * len(ECHOES)
            options = {"password": canary.password, "secret": canary.secret, "retry": NO_RETRY}
            outcomes = runtime.ask_all(server.url, calls, **options)
            cases.count(len(ECHOES) - 1)
            assert [outcome.text for outcome in outcomes[1::2]] == ["fine"] * len(ECHOES)
            assert chat == Conversation()
            for echo, outcome in zip(ECHOES, outcomes[::2], strict=True):
                assert outcome.error is not None, echo
                assert leaks(secrets_of(canary, server), everything(outcome.error)) == [], echo
            assert leaks(secrets_of(canary, server), [r.getMessage() for r in caplog.records if "sdk" in r.name]) == []


def test_a_body_that_breaks_off_inside_of_a_secret(cases: Cases) -> None:
    for canary in CANARIES.values():
        data = json.dumps({"pass": canary.password}).encode()
        sizes = range(len('{"pass": "') + 4, len(data) - 1, cases.choose(7, 1))
        scripts = [[head(400, "content-length: 9999") + data[:size], Do.CLOSE] for size in sizes]
        with ScriptedServer(*scripts) as server, Client(server.url, password=canary.password, retry=NO_RETRY) as client:
            for size in sizes:
                cases.count()
                with pytest.raises(sdk.BadRequestError) as caught:
                    client.ask("q")
                assert caught.value.body == b'{"pass": "***', data[:size]


@pytest.mark.parametrize("password", ["e", "pass", "password", "127.0.0.1", "***", "None", "0", '"', "\\", "\n"])
def test_a_password_that_is_an_ordinary_word(password: str) -> None:
    """It cannot be kept out of our own words, but nothing that it is changes these, or shows through what is masked."""
    told = []
    for echoed in (password, "another-password"):
        refusal = whole(401, message(f"Invalid password. <<{echoed}>>"), f"x-echo: <<{echoed}>>".replace("\n", " "))
        with ScriptedServer(refusal) as server, Client(server.url, password=echoed) as client:
            with pytest.raises(sdk.InvalidPasswordError) as caught:
                client.ask("q")
        told.append(str(caught.value).replace(server.url, "URL").partition("(")[0])
        assert [text for text in everything(caught.value) if f"<<{echoed}>>" in text and echoed != "***"] == []
    assert told == ["URL answered 401 "] * 2


def test_a_pickle_is_without_what_others_raised() -> None:
    """A transport of the user's own may hand us any error, with the whole request in it."""
    canary = CANARIES["plain"]
    for library in LIBRARIES.values():
        request = library.Request("POST", "http://host", content=canary.password)
        error = sdk.ConnectError("no connection")
        error.__cause__ = library.ConnectError("no connection", request=request)
        assert leaks([canary.password], [pickle.dumps(error.__cause__).decode("latin-1")]) != []
        assert leaks([canary.password], [pickle.dumps(error).decode("latin-1")]) == []


FAILURES: dict[str, tuple[list[list[Step]], dict[str, Any]]] = {
    "a good answer": ([answer("ok")], {}),
    "a refusal": ([whole(401, message("Invalid password."))], {}),
    "an outage": ([whole(503)] * 3, {"retry": RetryPolicy(base_delay=0.001)}),
    "a broken answer": ([[CHUNKED, chunk("half"), Do.CLOSE]], {}),
    "bytes that are no text": ([[CHUNKED, chunk(b"\xff"), END]], {}),
    "a lost connection": ([[Do.CLOSE]], {}),
    "a reset": ([[Do.RESET]], {}),
    "silence": ([[Do.HOLD]], {"timeout": Timeout(first_text=0.2)}),
    "a request that is not taken": ([[Take(1), Do.RESET]], {}),
    "no more than a total": ([[CHUNKED, chunk("half"), Do.HOLD]], {"timeout": 0.3}),
}


@EVERY_RUNTIME
def test_every_log_at_its_most_talkative(runtime: Runtime, caplog: pytest.LogCaptureFixture, cases: Cases) -> None:
    caplog.set_level(logging.DEBUG)
    canary = CANARIES["plain"]
    for name in list(FAILURES)[:: cases.choose(2, 1)]:
        scripts, options = FAILURES[name]
        caplog.clear()
        chat = Conversation()
        with cases.case(name), ScriptedServer(*scripts, answer("fine")) as server:
            calls = [{"prompt": "q" * 300_000}, {"prompt": "next", "timeout": PATIENCE}]
            calls = [{**call, "conversation": chat} for call in calls]
            outcome, following = runtime.ask_all(server.url, calls, **{"retry": NO_RETRY, **keys_of(canary), **options})
            assert (outcome.error is None) == (name == "a good answer")
            assert following.text == "fine"
            assert not chat.busy
            assert len(chat.messages) == (4 if outcome.error is None else 2)
            seen = [caplog.text, *(everything(outcome.error) if outcome.error else ())]
            talkers = {"aichatfree_sdk"} if runtime.library is aiohttp else {"aichatfree_sdk", "httpcore"}
            assert talkers <= {record.name.partition(".")[0].rstrip("2") for record in caplog.records}
            assert leaks(secrets_of(canary, server), seen) == []


MISUSES: dict[str, Callable[[str, Client, pytest.MonkeyPatch], object]] = {
    "a user in the URL": lambda it, _, __: Client(f"http://user:{quote(it)}@host"),
    "a user in the URL, unencoded": lambda it, _, __: Client(f"http://user:{it}@host"),
    "a query": lambda it, _, __: Client(f"http://host/?{quote(it)}"),
    "a fragment": lambda it, _, __: Client(f"http://host/#{quote(it)}"),
    "another scheme": lambda it, _, __: Client(f"ftp://{quote(it)}"),
    "a bad port": lambda it, _, __: Client(f"http://host:{quote(it)}"),
    "a bad host": lambda it, _, __: Client(f"http://[{it}"),
    "a URL in the environment": lambda it, _, env: [
        env.setenv("AICHATFREE_BASE_URL", f"http://user:{quote(it)}@host"),
        Client(),
    ],
    "a password that UTF-8 cannot carry": lambda it, _, __: Client(password=f"{it}\ud800"),
    "a secret that UTF-8 cannot carry": lambda it, _, __: Client(secret=f"{it}\udfff"),
    "a password in bytes": lambda it, _, __: Client(password=it.encode()),  # type: ignore[arg-type]
    "a password in a list": lambda it, client, _: client.with_options(password=[it]),
    "an option that is none": lambda it, client, _: client.with_options(pasword=it),
    "a header with a line break": lambda it, _, __: Client(headers={"Authorization": f"Bearer {it}\n"}),
    "a header with a space": lambda it, client, _: client.ask("q", headers={"Authorization": f"{it} "}),
    "a header in bytes": lambda it, _, __: Client(headers={"Authorization": it.encode()}),  # type: ignore[dict-item]
    "headers in a str": lambda it, _, __: Client(headers=f"Authorization: {it}"),  # type: ignore[arg-type]
    "a proxy of another scheme": lambda it, _, __: Client(proxy=f"nonsense://user:{quote(it)}@host"),
    "a proxy with a bad port": lambda it, _, __: AsyncClient(proxy=f"http://user:{quote(it)}@host:99999"),
    "a SOCKS proxy": lambda it, _, __: Client(proxy=f"socks5://user:{quote(it)}@host"),
    "a proxy in the environment": lambda it, _, env: [
        env.setenv("HTTP_PROXY", f"nonsense://user:{quote(it)}@host"),
        AsyncClient(),
    ],
    "a secret of our server": lambda it, _, __: create_app(secret=f"{it}\ud800"),
    "a secret of a local server": lambda it, _, __: LocalServer(secret=f"{it}\ud800"),
}


@EVERY_CANARY
def test_arguments_that_cannot_be_used(canary: Canary, cases: Cases) -> None:
    with Client("http://host", **keys_of(canary)) as client:
        for name, misuse in MISUSES.items():
            with cases.case(name), pytest.MonkeyPatch.context() as environment_of_one:
                with pytest.raises(ValueError) as caught:  # sdk.InvalidArgumentError, or the server's
                    misuse(canary.password, client, environment_of_one)
                assert leaks([canary.password], told(caught.value)) == []


def keys_of(canary: Canary) -> dict[str, Any]:
    return {"password": canary.password, "secret": canary.secret, "headers": HEADERS}


def shows(it: object) -> Iterator[str]:
    yield from (repr(it), str(it), f"{it}")


@EVERY_CANARY
def test_what_objects_show(canary: Canary, tmp_path: Path) -> None:
    seen: list[str] = []
    server = LocalServer(password=canary.password, secret=canary.secret)
    with server, warnings.catch_warnings(record=True) as caught, Client(server.url, **keys_of(canary)) as client:
        chat = Conversation(on_interrupt="keep")
        stream = client.stream("one two", conversation=chat)
        seen += shows(stream)
        with stream:
            next(stream)
            seen += shows(stream)
        reply = client.ask("three", conversation=chat)
        assert client.check_password()
        chat.save(tmp_path / "chat.json")
        next(client.stream("dropped"))
        for it in (server, client, client.settings, client.with_options(model="m"), reply, chat, stream):
            seen += shows(it)
        seen += (pickle.dumps(it).decode("latin-1") for it in (reply, chat, reply.message))
    assert [warning.category for warning in caught] == [ResourceWarning]
    seen += [str(caught[0].message), (tmp_path / "chat.json").read_text("utf-8")]
    assert leaks(secrets_of(canary), seen) == []


PROXY_PASSWORD = "armadillo/9876:5@dingo"
BASIC = "Basic " + base64.b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()
PROXIES: dict[str, list[Step]] = {
    "it passes on": answer("ok"),
    "it wants another password": whole(407, "<html>no</html>", "Proxy-Authenticate: Basic"),
    "it fails": whole(502, "<html>no</html>"),
    "it hangs up": [Do.CLOSE],
    "it resets": [Do.RESET],
    "it is no proxy": [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Do.CLOSE],
    "it is silent": [Do.HOLD],
}


def ask_through(backend: str, proxy: str | None, url: str, canary: Canary) -> list[str]:
    """Ask twice with a client of the SDK's own making, the second time with success, and return all there is to see."""
    options: dict[str, Any] = {**keys_of(canary), "proxy": proxy, "retry": NO_RETRY, "timeout": Timeout(first_text=0.3)}
    following = {"prompt": "next", "timeout": PATIENCE}

    def ask() -> None:
        with Client(url, **options) as client:
            seen.extend([repr(client), repr(client.settings)])
            try:
                seen.append(client.ask("q", conversation=chat).text)
            except sdk.AIChatFreeError as error:
                seen.extend(everything(error))
            assert client.ask(**following, conversation=chat).text == "fine"

    async def aask() -> None:
        async with AsyncClient(url, **options) as client:
            seen.extend([repr(client), repr(client.settings)])
            try:
                seen.append((await client.ask("q", conversation=chat)).text)
            except sdk.AIChatFreeError as error:
                seen.extend(everything(error))
            assert (await client.ask(**following, conversation=chat)).text == "fine"

    seen: list[str] = []
    chat = Conversation()
    if backend == "sync":
        ask()
    else:
        hygiene.run(aask, backend=backend)
    assert not chat.busy
    first = ["q", "ok"] if "ok" in seen else []
    assert [message.content for message in chat.messages] == [*first, "next", "fine"]
    return seen


def url_of_proxy(address: str) -> str:
    return f"http://user:{quote(PROXY_PASSWORD, safe='')}@{address}"


EVERY_BACKEND = pytest.mark.parametrize("backend", ["sync", *hygiene.BACKENDS])


@EVERY_BACKEND
@pytest.mark.parametrize("by", ["proxy=", pytest.param("HTTP_PROXY", marks=pytest.mark.full)])
def test_a_proxy_for_http(
    backend: str, by: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, cases: Cases
) -> None:
    caplog.set_level(logging.DEBUG)
    canary = CANARIES["plain"]
    for name in cases.choose(list(PROXIES)[:4], list(PROXIES)):
        with cases.case(name), ScriptedServer(PROXIES[name], answer("fine")) as proxy:
            given = url_of_proxy(proxy.url.removeprefix("http://"))
            if by == "HTTP_PROXY":
                monkeypatch.setenv(by, given)
            seen = ask_through(backend, given if by == "proxy=" else None, "http://chat.invalid/base", canary)
            assert len(proxy.heads) == 2
            for each in proxy.heads:
                lines = each.splitlines()
                assert lines[0] == "POST http://chat.invalid/base/api/generate HTTP/1.1"
                assert f"Proxy-Authorization: {BASIC}" in lines
                own = [canary.password, canary.secret, *(request["sign"] for request in proxy.requests)]
                assert leaks(own, lines) == []
            told = [*seen, caplog.text]
            assert leaks([*secrets_of(canary, proxy), PROXY_PASSWORD, BASIC], told) == []
            assert ("ok" in seen) == (name == "it passes on")


OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
TUNNELS = {
    "it opens": OPENED,
    "it wants another password": b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    "it fails": b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n",
    "it hangs up": b"",
    "it is no proxy": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
}


@EVERY_BACKEND
def test_a_proxy_for_https(
    backend: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cases: Cases
) -> None:
    """The proxy is told no more than where to; the deployment is not told what the proxy wants to know."""
    caplog.set_level(logging.DEBUG)
    canary = CANARIES["plain"]
    authority("trusted").cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    for name, reply in TUNNELS.items():
        context = server_context(host="chat.invalid")
        opened = name == "it opens"
        answers = [b"".join(whole(200, text, "Connection: close")) for text in ["ok"] * opened + ["fine"]]
        with cases.case(name), Tunnel([reply, OPENED], context, answers) as proxy:
            seen = ask_through(backend, url_of_proxy(proxy.address), "https://chat.invalid", canary)
        assert ("ok" in seen) == opened
        assert [len(proxy.outside), len(proxy.inside)] == [2, len(answers)]
        for lines in map(str.splitlines, proxy.outside):
            assert lines[0] == "CONNECT chat.invalid:443 HTTP/1.1"
            assert f"Proxy-Authorization: {BASIC}" in lines
        for lines in map(str.splitlines, proxy.inside):
            assert lines[0] == "POST /api/generate HTTP/1.1"
        assert leaks([*secrets_of(canary)], proxy.outside) == []
        assert leaks([PROXY_PASSWORD, BASIC, canary.password, canary.secret], proxy.inside) == []
        assert leaks([*secrets_of(canary), PROXY_PASSWORD, BASIC], [*seen, caplog.text]) == []


def see_command(canary: Canary, tmp_path: Path, how: str) -> tuple[list[str], dict[str, str]]:
    """Return the options and the variables that tell the command our secrets."""
    variables = {"AICHATFREE_LOG": "debug", "PYTHONDEVMODE": "1"}
    if how == "environment":
        return [], {**variables, "AICHATFREE_PASSWORD": canary.password, "AICHATFREE_SECRET": canary.secret}
    (tmp_path / "password").write_text(canary.password)
    (tmp_path / "secret").write_text(canary.secret)
    return ["--password-file", str(tmp_path / "password"), "--secret-file", str(tmp_path / "secret")], variables


@contextlib.contextmanager
def started(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = [*COMMAND, *arguments]
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(**variables), encoding="utf-8", errors="replace"
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def by_the_command(canary: Canary) -> bool:
    """A variable and the first line of a file hold anything but an end of line, or NUL."""
    return "\n" not in canary.password


COMMANDS = {
    "chat": ["chat", "--conversation", "FILE"],
    "ask": ["ask", "q", "--conversation", "FILE"],
    "ask as JSON": ["ask", "q", "--json"],
    "doctor": ["doctor", "--ask"],
    "doctor as JSON": ["doctor", "--json"],
}


@pytest.mark.parametrize("how", ["environment", pytest.param("files", marks=pytest.mark.full)])
@pytest.mark.parametrize("command", [pytest.param(it, marks=[pytest.mark.full] * (it != "chat")) for it in COMMANDS])
def test_what_the_command_shows(command: str, how: str, tmp_path: Path, cases: Cases) -> None:
    """A chat meets every echo with each canary; of the others, which end with the first, each echo meets one."""
    names = [name for name in cases.choose(QUICK[1:2], list(CANARIES)) if by_the_command(CANARIES[name])]
    rounds = [(name, list(ECHOES)) for name in names]
    if command != "chat":
        rounds = [(name, [echo]) for name, echo in zip(itertools.cycle(names), ECHOES, strict=False)]
    first = [whole(200, '{"code":0}')] if "--ask" in COMMANDS[command] else []
    for name, echoes in rounds:
        file = tmp_path / f"{name}.json"
        with cases.case(name, echoes), echoing(CANARIES[name], echoes, *first) as server:
            options, variables = see_command(CANARIES[name], tmp_path, how)
            told = [str(file) if it == "FILE" else it for it in COMMANDS[command]] + options
            with started(*told, **variables, AICHATFREE_BASE_URL=server.url) as process:
                seen = [*process.communicate("q\nq\n" * len(echoes), timeout=PATIENCE), *map(str, process.args)]
            assert process.returncode in (3, 4, 5, 6)  # the exit codes of what a server does
            assert len(server.requests) == (2 * len(echoes) if command == "chat" else len(first) + 1)
            if command == "chat":
                assert all(seen[:2])
                seen.append(file.read_text("utf-8"))
            else:
                assert "error" in seen["JSON" not in command]
            assert leaks(secrets_of(CANARIES[name], server), seen) == []


def test_what_serve_shows(tmp_path: Path) -> None:
    canary = CANARIES["quotes and backslashes"]
    options, variables = see_command(canary, tmp_path, "environment")
    with started("serve", "--port", "0", *options, **variables) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        shown = Path(f"/proc/{process.pid}/cmdline").read_text()
        with Client(url, **keys_of(canary)) as client:
            assert client.ask("q").text
            assert client.check_password()
            for wrong in ({"password": canary.secret}, {"secret": canary.password}):
                with client.with_options(**wrong) as stranger, pytest.raises(sdk.AuthenticationError):
                    stranger.ask("q")
        host, port = url.removeprefix("http://").split(":")
        for start in (
            "POST /api/generate HTTP/1.1\r\nHost: x\r\nX: ",
            "GET /?",
            "POST /api/auth HTTP/1.1\r\nContent-Length: ",
        ):
            with socket.create_connection((host, int(port))) as connection:
                connection.settimeout(PATIENCE)
                connection.sendall(f"{start}{canary.password}{canary.secret}\r\n\r\n".encode())
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert leaks(secrets_of(canary), [shown, out, err]) == []
