"""Every failure is one line on stderr and its exit code; none of them tells a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aichatfree_sdk import errors
from aichatfree_sdk.cli.exits import EPILOG, ExitCode, exit_code
from aichatfree_sdk.server import UpstreamError, scripted_responder
from aichatfree_sdk.testing import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable

Run = Any
CANARY = "c4nary-in-the-mine"
NOWHERE = "http://127.0.0.1:9"  # discard: nobody listens there


def failing(message: str) -> dict[str, Any]:
    return {"responder": scripted_responder([], UpstreamError(message))}


FAILURES: dict[str, tuple[dict[str, Any], tuple[str, ...], ExitCode, str]] = {
    "wrong password": ({"password": "other"}, (), ExitCode.CREDENTIALS, "--password-file"),
    "wrong secret": ({"secret": "other"}, (), ExitCode.CREDENTIALS, "--secret-file"),
    "refused": (failing("Please ensure that multiturn..."), (), ExitCode.SERVER, "Please ensure"),
    "misconfigured": (failing(f"API key {CANARY} not valid"), (), ExitCode.SERVER, "API key"),
    "escapes": (failing("bad \x1b]0;x\x07 \u202e key\n2"), (), ExitCode.SERVER, "bad"),
    "cut": ({"responder": scripted_responder(["half"], UpstreamError("x"))}, (), ExitCode.BAD_ANSWER, "ask again"),
    "empty": ({"responder": scripted_responder([])}, (), ExitCode.BAD_ANSWER, "nothing"),
    "not there": ({}, ("--base-url", NOWHERE), ExitCode.NETWORK, "could not connect"),
    "bad URL": ({}, ("--base-url", f"http://user:{CANARY}@host"), ExitCode.USAGE, "user name or password"),
    "bad timeout": ({}, ("--timeout", "nan"), ExitCode.USAGE, "timeout"),
    "no such file": ({}, ("--password-file", "/nonexistent"), ExitCode.USAGE, "does not exist"),
}


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure(run: Run, name: str, as_json: bool) -> None:
    server_options, options, code, words = FAILURES[name]
    with LocalServer(**server_options) as server:
        variables = {"AICHATFREE_BASE_URL": server.url, "AICHATFREE_PASSWORD": CANARY, "AICHATFREE_SECRET": CANARY}
        if name != "wrong secret":
            variables.pop("AICHATFREE_SECRET")
        result = run("ask", f"not {CANARY[:3]}", *options, *(["--json"] if as_json else []), **variables)
    assert result.code == code
    assert CANARY not in result.out + result.err
    if as_json and name != "no such file":
        assert result.err == ""
        assert words in result.json["error"]["message"]
        return
    assert words in result.err
    assert result.out == ("half" if name == "cut" else "")
    assert all(character.isprintable() for character in result.err.replace("\n", ""))
    if name != "no such file":  # click's own usage errors have a Usage line too
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1


def test_a_timeout(run: Run, counting: Any) -> None:
    with LocalServer(responder=counting) as server:
        result = run("ask", "slow", "--base-url", server.url, "--timeout", "0.5")
    assert (result.code, result.out) == (3, "history:1 ")
    assert "0.5 s" in result.err


def test_usage(run: Run) -> None:
    assert run("ask").code == 2
    assert run("nonsense").code == 2
    result = run("ask", "hi", "--password", CANARY)
    assert result.code == 2
    assert CANARY not in result.err
    assert "--password-file" in result.err


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"\n", "empty"), (b"", "empty"), (b"c4nary\xff\n", "not UTF-8"), (b"c4nary" * 20000, "long")],
)
@pytest.mark.parametrize("option", ["--password-file", "--secret-file"])
def test_secret_files_that_hold_none(run: Run, tmp_path: Path, option: str, content: bytes, problem: str) -> None:
    (tmp_path / "file").write_bytes(content)
    result = run("ask", "hi", option, str(tmp_path / "file"), "--base-url", NOWHERE)
    assert (result.code, result.raw, result.err.count("\n")) == (2, b"", 1)
    assert option in result.err
    assert problem in result.err
    assert "c4nary" not in result.err


@pytest.mark.parametrize(
    "command", [("ask", "hi"), ("ask", "hi", "--json"), ("chat",), ("doctor",), ("doctor", "--json")]
)
@pytest.mark.parametrize("how", ["file", "environment"])
@pytest.mark.parametrize("server_options", [{}, {"password": CANARY, "secret": CANARY}, {"password": "other"}, None])
def test_no_command_tells_a_secret(
    run: Run, tmp_path: Path, command: tuple[str, ...], how: str, server_options: dict[str, Any] | None
) -> None:
    (tmp_path / "canary").write_text(f"{CANARY}\n")
    options: tuple[str, ...] = ()
    variables = {"AICHATFREE_LOG": "debug"}
    if how == "file":
        options = ("--password-file", str(tmp_path / "canary"), "--secret-file", str(tmp_path / "canary"))
    else:
        variables |= {"AICHATFREE_PASSWORD": CANARY, "AICHATFREE_SECRET": CANARY}
    with ExitStack() as stack:
        url = NOWHERE if server_options is None else stack.enter_context(LocalServer(**server_options)).url
        result = run(*command, *options, stdin=b"hello\n/help\n", AICHATFREE_BASE_URL=url, **variables)
    works = server_options is not None and server_options.get("password") == CANARY
    assert result.code == 0 if works else result.code in (0, 3, 4)
    assert CANARY not in result.out + result.err
    assert result.out + result.err


def every_error() -> list[type[errors.AIChatFreeError]]:
    found = [errors.AIChatFreeError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return [kind for kind in found if kind.__module__ == errors.__name__]


def test_every_error_has_its_exit_code() -> None:
    codes = {kind.__name__: exit_code(kind.__new__(kind)).name for kind in every_error()}
    assert {name for name, code in codes.items() if code == "FAILURE"} == {
        "AIChatFreeError",
        "ClientBoundError",
        "ClientClosedError",
        "ConversationBusyError",
        "ConversationFileError",
    }
    assert {name for name, code in codes.items() if code == "BAD_ANSWER"} == {
        "StreamInterruptedError",
        "EmptyReplyError",
        "InvalidReplyError",
    }
    assert {name for name, code in codes.items() if code == "CREDENTIALS"} == {
        "AuthenticationError",
        "InvalidPasswordError",
        "InvalidSignatureError",
    }
    assert {name for name, code in codes.items() if code == "NETWORK"} == {
        "TransportError",
        "ConnectError",
        "RequestTimeoutError",
        "ConnectTimeoutError",
        "FirstTextTimeoutError",
        "IdleTimeoutError",
        "TotalTimeoutError",
    }
    assert codes["RateLimitError"] == codes["APIStatusError"] == "SERVER"
    assert exit_code(OSError()) == ExitCode.FAILURE


def test_the_help_lists_every_exit_code(run: Run) -> None:
    listed = {int(word) for line in EPILOG.splitlines() if (word := line.strip().partition(" ")[0]).isdigit()}
    assert listed == {int(code) for code in ExitCode}
    for command in ([], ["ask"], ["chat"], ["serve"], ["doctor"]):
        result = run(*command, "--help")
        assert result.code == 0
        assert "\n      130  Ctrl-C\n" in result.out


@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
@pytest.mark.parametrize(
    ("absent", "arguments", "words"),
    [
        (("click",), ("ask", "hi"), "aichatfree needs click: pip install 'aichatfree-sdk[cli]'\n"),
        (("rich", "prompt_toolkit"), ("--help",), "needs rich, prompt_toolkit: pip install 'aichatfree-sdk[cli]'\n"),
        (("uvicorn",), ("ask", "hi", "--local"), "needs uvicorn: pip install 'aichatfree-sdk[cli,server]'\n"),
        (("starlette",), ("serve",), "needs starlette: pip install 'aichatfree-sdk[cli,server]'\n"),
        (("starlette", "uvicorn"), ("--version",), ""),
    ],
)
def test_without_the_extras(
    child_environment: Callable[..., dict[str, str]],
    tmp_path: Path,
    absent: tuple[str, ...],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    # A library directory like ours but for what is absent, and -S, so that there is no other.
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if entry.name not in (*absent, "aichatfree_sdk"):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "aichatfree_sdk").symlink_to(Path(errors.__file__).parent)
    env = child_environment() | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-S", "-m", "aichatfree_sdk.cli", *arguments]
    done = subprocess.run(command, capture_output=True, env=env, check=False, timeout=60, cwd=tmp_path)
    err = done.stderr.decode()
    assert done.returncode == (1 if words else 0)
    assert err.endswith(words)
    assert err.count("\n") == (1 if words else 0)


def test_doctor_reports_bad_settings_as_json(run: Run) -> None:
    result = run("doctor", "--json", AICHATFREE_BASE_URL="ftp://x")
    assert result.code == 2
    assert json.loads(result.raw)["error"]["type"] == "InvalidArgumentError"
