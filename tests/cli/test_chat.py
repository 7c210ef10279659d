"""aichatfree chat with lines from a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aichatfree_sdk import Conversation
from aichatfree_sdk.server import UpstreamError
from aichatfree_sdk.testing import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aichatfree_sdk.server import ChatMessage

Run = Any


def test_turns_follow_each_other(run: Run, counting: Any) -> None:
    with LocalServer(responder=counting) as server:
        result = run("chat", "--base-url", server.url, "--system", "Be brief.", stdin="one\n\n  \nдва\n".encode())
    assert (result.code, result.err) == (0, "")
    assert result.out == "history:1 done\nhistory:3 done\n"
    assert [request["messages"][-1]["parts"][0]["text"] for request in server.requests] == ["Be brief.\n\none", "два"]


def test_commands(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a file.json"
    lines = [
        "one",
        "two",
        "/undo",
        f"/save {file}",
        "/undo",
        "/undo",
        "//usr is a directory",
        "/help",
        "/quit",
        "three",
    ]
    result = run("chat", "--local", stdin="\n".join(lines).encode())
    assert result.code == 0
    assert result.out == "You said: one\nYou said: two\nYou said: /usr is a directory\n"
    undone, saved, undone_too, nothing, help_line = result.err.splitlines()
    assert undone == undone_too == "the last turn is forgotten"
    assert str(file) in saved
    assert "no turn" in nothing
    assert "/undo" in help_line
    assert [message.content for message in Conversation.load(file).messages] == ["one", "You said: one"]


def test_the_file_follows_the_conversation(run: Run, counting: Any, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    with LocalServer(responder=counting) as server:
        options = ("chat", "--base-url", server.url, "--conversation", str(file))
        assert run(*options, stdin=b"one").code == 0
        assert run(*options, stdin=b"two\nthree\n/undo\n").out == "history:3 done\nhistory:5 done\n"
    assert [message.content for message in Conversation.load(file).messages][::2] == ["one", "two"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["chat.json"]


def test_a_file_that_cannot_be_written_does_not_end_the_chat(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def remove_the_folder(messages: tuple[ChatMessage, ...]) -> list[str]:
        if folder.exists():
            folder.rmdir()
        return [f"history:{len(messages)}"]

    with LocalServer(responder=remove_the_folder) as server:
        options = ("--base-url", server.url, "--conversation", str(folder / "chat.json"))
        result = run("chat", *options, stdin=b"one\ntwo\n")
    assert (result.code, result.out) == (1, "history:1\nhistory:3\n")
    assert result.err.count("error: ") == 2


def test_errors_are_shown_and_the_chat_goes_on(run: Run) -> None:
    def responder(messages: tuple[ChatMessage, ...]) -> Iterator[str]:
        if messages[-1].text == "fail":
            yield "half"
            raise UpstreamError("x")
        if messages[-1].text == "refuse":
            raise UpstreamError("no \x1b[31m way")
        yield f"history:{len(messages)}"

    with LocalServer(responder=responder) as server:
        lines = b"one\nfail\n/nonsense\ncaf\xe9\n/save\nrefuse\ntwo"
        result = run("chat", "--base-url", server.url, stdin=lines)
    # The failed turns are rolled back: the last question follows the first one's answer.
    assert result.out == "history:1\nhalf\nhistory:3\n"
    errors = result.err.splitlines()
    assert all(line.startswith("error: ") for line in errors)
    for line, words in zip(errors, ["in the middle", "/nonsense", "not UTF-8", "/save", "no "], strict=True):
        assert words in line
    assert "\x1b" not in result.err
    assert result.code == 5  # of the last turn that failed


def test_without_a_server(run: Run) -> None:
    result = run("chat", "--base-url", "http://127.0.0.1:9", stdin=b"one")
    assert (result.code, result.out, result.err.count("\n")) == (3, "", 1)


def test_quit_needs_no_server(run: Run) -> None:
    assert run("chat", "--base-url", "http://127.0.0.1:9", stdin=b"/quit").code == 0
