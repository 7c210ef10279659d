"""aichatfree ask, through pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from command import wait_until_it_waits

from aichatfree_sdk import Conversation
from aichatfree_sdk.server import UpstreamError, scripted_responder
from aichatfree_sdk.testing import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Run = Any
EVIL = "\x1b[2Ja\rb\u202e\x7f\x9b\r\nПривет 👋"


def test_the_answer_and_nothing_else(run: Run) -> None:
    with LocalServer(responder="Once upon a time") as server:
        result = run("ask", "Hello", "--base-url", server.url)
    assert (result.code, result.raw, result.err) == (0, b"Once upon a time", "")


def test_a_pipe_gets_the_bytes_of_the_answer(run: Run) -> None:
    with LocalServer(responder=scripted_responder(list(EVIL))) as server:
        # A locale that cannot print it changes nothing.
        result = run("ask", "Hello", AICHATFREE_BASE_URL=server.url, PYTHONIOENCODING="ascii")
    assert (result.code, result.raw) == (0, EVIL.encode())


@pytest.mark.parametrize(
    ("stdin", "prompt"),
    [(b"hi\n", "hi"), (b"hi", "hi"), (b" a\n\n", " a\n"), (b"a\r\nb\r\n", "a\r\nb"), ("да".encode(), "да")],
)
def test_the_prompt_from_stdin(run: Run, stdin: bytes, prompt: str) -> None:
    with LocalServer(responder="ok") as server:
        assert run("ask", "-", "--base-url", server.url, stdin=stdin, PYTHONIOENCODING="ascii").code == 0
    assert server.requests[0]["messages"] == [{"role": "user", "parts": [{"text": prompt}]}]


@pytest.mark.parametrize(
    ("stdin", "words"), [(b"caf\xe9", "not UTF-8: byte 3 is 0xe9"), (b"", "must not be empty"), (b"\n", "must not be")]
)
def test_what_stdin_cannot_hold(run: Run, stdin: bytes, words: str) -> None:
    result = run("ask", "-", "--local", stdin=stdin)
    assert (result.code, result.raw, result.err.count("\n")) == (2, b"", 1)
    assert words in result.err


def test_local_needs_no_network_and_no_settings(run: Run) -> None:
    result = run(
        "ask",
        "Hello",
        "--local",
        AICHATFREE_BASE_URL="http://127.0.0.1:9",
        AICHATFREE_PASSWORD="wrong",
        AICHATFREE_SECRET="wrong",
        HTTP_PROXY="http://127.0.0.1:9",
        ALL_PROXY="nonsense://127.0.0.1:9",
    )
    assert (result.code, result.out, result.err) == (0, "You said: Hello", "")


def test_a_proxy_variable_that_cannot_be_used(run: Run) -> None:
    result = run("ask", "Hello", "--base-url", "http://127.0.0.1:9", HTTP_PROXY="nonsense://user:canary@127.0.0.1:9")
    assert (result.code, result.raw, result.err.count("\n")) == (2, b"", 1)
    assert "proxy" in result.err
    assert "canary" not in result.err


@pytest.mark.parametrize("option", ["--base-url=http://x", "--password-file=f", "--secret-file=f"])
def test_local_contradicts_other_targets(
    run: Run, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    monkeypatch.chdir(tmp_path)
    result = run("ask", "Hello", "--local", option)
    assert result.code == 2
    assert "--local cannot be combined" in result.err


def test_json(run: Run) -> None:
    with LocalServer(responder=scripted_responder([EVIL])) as server:
        result = run("ask", "Hello", "--json", "--base-url", server.url)
    assert result.code == 0
    assert result.json.keys() == {"text", "timing", "ended_by", "retries"}
    assert result.json["text"] == EVIL
    assert (result.json["ended_by"], result.json["retries"]) == ("chunked", 0)
    assert 0 < result.json["timing"]["first_text"] <= result.json["timing"]["total"]
    assert all(0x20 <= byte < 0x7F for byte in result.raw.removesuffix(b"\n"))


def test_json_of_a_failure(run: Run) -> None:
    with LocalServer(responder=scripted_responder(["half \x1b"], UpstreamError("gone"))) as server:
        result = run("ask", "Hello", "--json", "--base-url", server.url)
    assert (result.code, result.err) == (6, "")
    assert result.json.keys() == {"error"}
    assert result.json["error"].keys() == {"type", "message", "partial_text"}
    assert (result.json["error"]["type"], result.json["error"]["partial_text"]) == (
        "StreamInterruptedError",
        "half \x1b",
    )


def test_json_of_a_bad_prompt(run: Run) -> None:
    result = run("ask", "", "--json", "--local")
    assert (result.code, result.json["error"]["type"]) == (2, "InvalidArgumentError")


def test_a_conversation_goes_on(run: Run, counting: Any, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    with LocalServer(responder=counting) as server:
        options = ("--base-url", server.url, "--conversation", str(file))
        assert run("ask", "one", "--system", "Be brief.", *options).out == "history:1 done"
        assert run("ask", "two", "--json", *options).json["text"] == "history:3 done"
    conversation = Conversation.load(file)
    assert [message.content for message in conversation.messages] == ["one", "history:1 done", "two", "history:3 done"]
    assert conversation.system == "Be brief."
    assert server.requests[1]["messages"][0]["parts"] == [{"text": "Be brief.\n\none"}]


def test_a_damaged_conversation_is_left_alone(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text('{"version": 1, "mess')
    result = run("ask", "one", "--local", "--conversation", str(file))
    assert (result.code, result.raw, result.err.count("\n")) == (1, b"", 1)
    assert file.read_text() == '{"version": 1, "mess'


def test_an_answer_is_not_lost_with_its_file(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "folder"

    def remove_the_folder(_: object) -> list[str]:
        folder.rmdir()
        return ["an answer"]

    with LocalServer(responder=remove_the_folder) as server:
        options = ("--base-url", server.url, "--conversation", str(folder / "chat.json"))
        folder.mkdir()
        told = run("ask", "one", *options)
        folder.mkdir()
        result = run("ask", "one", *options, "--json")
    assert (told.code, told.out, str(folder) in told.err) == (1, "an answer", True)
    assert (result.code, result.json["error"]["partial_text"]) == (1, "an answer")


def test_password_and_secret_from_files_beat_the_environment(run: Run, tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes("пароль s\r\nsecond line\n".encode())
    (tmp_path / "secret").write_bytes(b"k3y")
    files = ("--password-file", str(tmp_path / "password"), "--secret-file", str(tmp_path / "secret"))
    with LocalServer(password="пароль s", secret="k3y", responder="in") as server:
        by_files = run("ask", "Hello", *files, AICHATFREE_BASE_URL=server.url, AICHATFREE_PASSWORD="wrong")
        variables = {"AICHATFREE_PASSWORD": "пароль s", "AICHATFREE_SECRET": "k3y"}
        by_variables = run("ask", "Hello", AICHATFREE_BASE_URL=server.url, **variables)
    assert (by_files.code, by_files.out) == (by_variables.code, by_variables.out) == (0, "in")


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_goes_away(child_environment: Callable[..., dict[str, str]]) -> None:
    with LocalServer(responder=lambda _: iter(lambda: "again and again ", None)) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "aichatfree_sdk.cli", "ask", "Hello"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(AICHATFREE_BASE_URL=server.url),
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(5) == b"again"
            process.stdout.close()
            assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_without_a_terminal(child_environment: Callable[..., dict[str, str]], counting: Any) -> None:
    with LocalServer(responder=counting) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "aichatfree_sdk.cli", "ask", "slow"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(AICHATFREE_BASE_URL=server.url),
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(10) == b"history:1 "
            wait_until_it_waits(process)
            process.send_signal(signal.SIGINT)
            assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
    assert process.returncode == 130


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(("redirect", "code"), [("> /dev/full", 1), (">&-", 1), ("<&-", 1)])
def test_streams_that_do_not_work(child_environment: Callable[..., dict[str, str]], redirect: str, code: int) -> None:
    prompt = "-" if redirect == "<&-" else "hi"
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m aichatfree_sdk.cli ask --local {prompt} {redirect}', sys.executable],
        capture_output=True,
        env=child_environment(),
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.startswith(b"error: ")
    assert done.stderr.count(b"\n") == 1


def test_json_is_what_json_tools_read(run: Run) -> None:
    assert json.loads(run("ask", "😀", "--local", "--json").raw)


def test_a_prompt_in_a_locale_that_is_not_utf_8(run: Run) -> None:
    result = run("ask", "--local", "Привет", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (result.code, result.out) == (0, "You said: Привет")


def test_a_conversation_that_could_not_be_saved_is_refused_before_anything_is_sent(run: Run, tmp_path: Path) -> None:
    with LocalServer() as server:
        path = tmp_path / "no such folder" / "chat.json"
        result = run("ask", "Hello", "--conversation", str(path), AICHATFREE_BASE_URL=server.url)
        assert (result.code, result.out, server.requests) == (1, "", ())
    assert str(path) in result.err
