"""aichatfree doctor and serve."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from aichatfree_sdk import Client, InvalidPasswordError, InvalidSignatureError, __version__
from aichatfree_sdk.server import UpstreamError, scripted_responder
from aichatfree_sdk.testing import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Run = Any


def test_all_is_well(run: Run) -> None:
    with LocalServer(password="pw", secret="k3y", responder="pong \x1b[2J") as server:
        settings = {"AICHATFREE_BASE_URL": server.url, "AICHATFREE_PASSWORD": "pw", "AICHATFREE_SECRET": "k3y"}
        result = run("doctor", **settings)
        assert server.requests == ()
        asked = run("doctor", "--ask", **settings)
    assert (result.code, result.err) == (asked.code, asked.err) == (0, "")
    assert f"aichatfree-sdk {__version__}, Python {sys.version.split()[0]}, httpx " in result.out
    assert f"base URL  {server.url} (environment)\n" in result.out
    assert "password  set (environment)\n" in result.out
    assert "secret    set (environment)\n" in result.out
    assert "answers and takes the password\n" in result.out
    assert "pong" not in result.out
    assert r"answer    pong \x1b[2J (in " in asked.out


def test_where_each_value_comes_from(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("pw")
    with LocalServer() as server:
        options = ("--base-url", server.url, "--password-file", str(tmp_path / "pw"))
        data = run("doctor", "--json", *options, AICHATFREE_BASE_URL="http://x", NO_PROXY="127.0.0.1").json
    assert data["ok"] is True
    assert data["configuration"] == {
        "base_url": {"value": server.url, "source": "option"},
        "password": {"set": True, "source": "file"},
        "secret": {"set": False, "source": "default"},
        "proxy_variable": None,
    }
    assert data["password_accepted"] is True
    assert data["versions"]["aichatfree_sdk"] == __version__


def test_which_proxy_variable_is_in_the_way(run: Run) -> None:
    proxy = {"HTTP_PROXY": "http://user:canary@127.0.0.1:9"}
    result = run("doctor", "--base-url", "http://chat.example", **proxy)
    assert result.code == 3
    assert "proxy     by HTTP_PROXY\n" in result.out
    assert "at the proxy 127.0.0.1:9" in result.err
    assert "canary" not in result.out + result.err
    with LocalServer() as server:
        assert "proxy     none\n" in run("doctor", "--base-url", server.url, **proxy).out


def test_what_cannot_be_used_is_told_with_where_it_comes_from(run: Run) -> None:
    result = run("doctor", AICHATFREE_BASE_URL="foo")
    assert result.code == 2
    assert "base URL  cannot be used (environment)\n" in result.out
    assert "base_url: (of AICHATFREE_BASE_URL) must be like https://" in result.err


def test_local(run: Run) -> None:
    result = run("doctor", "--local", "--ask", "--json", AICHATFREE_PASSWORD="x", HTTP_PROXY="http://127.0.0.1:9")
    assert result.code == 0
    assert result.json["configuration"]["password"] == {"set": False, "source": "local"}
    assert result.json["configuration"]["proxy_variable"] is None
    assert result.json["answer"]["text"].startswith("You said: ")


def test_a_password_that_is_refused(run: Run) -> None:
    with LocalServer(password="pw") as server:
        text = run("doctor", "--ask", AICHATFREE_BASE_URL=server.url, AICHATFREE_PASSWORD="wrong")
        data = run("doctor", "--json", AICHATFREE_BASE_URL=server.url)
    assert text.code == data.code == 4
    assert "refuses the password" in text.out
    assert text.err.count("\n") == 1
    assert "--password-file" in text.err
    assert (data.json["ok"], data.json["password_accepted"], server.requests) == (False, False, ())


def test_nobody_answers(run: Run) -> None:
    result = run("doctor", "--base-url", "http://127.0.0.1:9")
    assert (result.code, result.err.count("\n")) == (3, 1)
    assert "http://127.0.0.1:9 (option)" in result.out
    assert "answers" not in result.out


def test_a_question_that_fails(run: Run) -> None:
    with LocalServer(responder=scripted_responder([], UpstreamError("API key \x1b not valid"))) as server:
        assert run("doctor", "--base-url", server.url).code == 0
        result = run("doctor", "--ask", "--base-url", server.url)
    assert result.code == 5
    assert "takes the password" in result.out
    assert "API key" in result.err
    assert "\x1b" not in result.err


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_serve(child_environment: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("pw\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "aichatfree_sdk.cli", "serve", "--port", "0", "--password-file", str(tmp_path / "pw")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(AICHATFREE_SECRET="k3y", AICHATFREE_PASSWORD="other"),
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().decode().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        with Client(url, password="pw", secret="k3y") as client:
            assert client.ask("Hello").text == "You said: Hello"
            with pytest.raises(InvalidPasswordError):
                client.with_options(password="other").ask("Hello")
            with pytest.raises(InvalidSignatureError):
                client.with_options(secret="").ask("Hello")
        process.send_signal(signal.SIGINT)
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
    assert process.returncode == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "999.1.1.1", "a" * 70 + ".example"])
def test_an_address_that_cannot_be_had(run: Run, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "--host", host, "--port", str(taken.getsockname()[1]))
    assert result.code in (1, 2)
    assert result.out == ""
    assert "rror: " in result.err
