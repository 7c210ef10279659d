"""The command on a terminal: what it shows, and what Ctrl-C and Ctrl-D do."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from command import CTRL_C

from aichatfree_sdk import Conversation
from aichatfree_sdk.server import UpstreamError, scripted_responder
from aichatfree_sdk.testing import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals of this kind")

Start = Any
CTRL_D, ENTER = "\x04", "\r"
PROMPT = "\x1b[0m>"  # as prompt_toolkit draws it; what is typed before it may be lost
EVIL = "\x1b]0;owned\x07 \u202e \r over\r\nend 👩‍💻"


def test_an_answer_is_made_safe_and_ends_with_a_newline(terminal: Start) -> None:
    with LocalServer(responder=scripted_responder(list(EVIL))) as server:
        plain = terminal("ask", "Hello", AICHATFREE_BASE_URL=server.url, NO_COLOR="1")
        styled = terminal("ask", "Hello", AICHATFREE_BASE_URL=server.url)
        assert plain.finish() == styled.finish() == 0
    # The terminal itself makes \r\n of every \n.
    assert plain.seen.decode() == "\\x1b]0;owned\\x07 \\u202e \\x0d over\r\nend 👩‍💻\r\n"
    assert styled.seen.decode().startswith("\x1b[7m\\x1b\x1b[27m]0;owned\x1b[7m\\x07\x1b[27m ")


def test_an_answer_that_ends_its_line_gets_no_other(terminal: Start) -> None:
    with LocalServer(responder="done\n") as server:
        started = terminal("ask", "Hello", AICHATFREE_BASE_URL=server.url)
        assert started.finish() == 0
    assert started.seen == b"done\r\n"


def test_what_the_encoding_cannot_show(terminal: Start) -> None:
    with LocalServer(responder="Ω 👋") as server:
        started = terminal("ask", "Hello", AICHATFREE_BASE_URL=server.url, PYTHONIOENCODING="ascii")
        assert started.finish() == 0
    assert started.seen == b"\\u03a9 \\U0001f44b\r\n"


@pytest.mark.parametrize("no_color", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_an_error_is_red_unless_asked_not_to_be(terminal: Start, no_color: dict[str, str]) -> None:
    with LocalServer(responder=scripted_responder(["half\x1b"], UpstreamError("x"))) as server:
        started = terminal("ask", "Hello", AICHATFREE_BASE_URL=server.url, **no_color)
        assert started.finish() == 6
    answer, error = started.seen.decode().split("\r\n", 1)
    if no_color:
        assert answer == "half\\x1b"
        assert error.startswith("error: ")
        assert "\x1b" not in started.seen.decode()
    else:
        assert error.startswith("\x1b[31merror:\x1b[0m ")


def test_ctrl_c_ends_ask(terminal: Start, counting: Any) -> None:
    with LocalServer(responder=counting) as server:
        started = terminal("ask", "slow", AICHATFREE_BASE_URL=server.url)
        started.read_until("history:1 ")
        started.type(CTRL_C)
        assert started.finish() == 130
    assert re.fullmatch(rb"history:1 \^C\r?\n?(\r\n)?", started.seen)


def test_ctrl_c_stops_an_answer_and_not_the_chat(terminal: Start, counting: Any, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    with LocalServer(responder=counting) as server:
        started = terminal("chat", "--conversation", str(file), AICHATFREE_BASE_URL=server.url)
        started.read_until(PROMPT)
        started.type(f"one{ENTER}")
        started.read_until("history:1 done")
        started.read_until(PROMPT)
        started.type(f"slow{ENTER}")
        started.read_until("history:3 ")
        started.type(CTRL_C)
        started.read_until("this turn is forgotten")
        assert len(Conversation.load(file).messages) == 2
        started.read_until(PROMPT)
        started.type(f"two{ENTER}")
        started.read_until("history:3 done")
        started.read_until(PROMPT)
        started.type(CTRL_D)
        assert started.finish() == 0
    assert [message.content for message in Conversation.load(file).messages][::2] == ["one", "two"]


def test_ctrl_c_at_the_prompt_ends_the_chat(terminal: Start) -> None:
    started = terminal("chat", "--local")
    started.read_until(PROMPT)
    started.type(CTRL_C)
    assert started.finish() == 130
    assert b"Traceback" not in started.seen


def test_the_arrow_brings_the_last_line_back(terminal: Start, tmp_path: Path) -> None:
    started = terminal("chat", "--local", XDG_STATE_HOME=str(tmp_path))
    started.read_until(PROMPT)
    started.type(f"one{ENTER}")
    started.read_until("You said: one")
    started.read_until(PROMPT)
    started.type(f"\x1b[A{ENTER}")
    started.read_until("You said: one")
    started.read_until(PROMPT)
    started.type(f"/quit{ENTER}")
    assert started.finish() == 0
    assert list(tmp_path.iterdir()) == []  # nothing is kept unasked


def test_history_is_kept_where_asked(terminal: Start, tmp_path: Path) -> None:
    for answer in ("first", "second"):
        started = terminal("chat", "--local", "--keep-history", XDG_STATE_HOME=str(tmp_path))
        started.read_until(PROMPT)
        started.type(f"remember me{ENTER}" if answer == "first" else f"\x1b[A\x1b[A{ENTER}")
        started.read_until("You said: remember me")
        started.read_until(PROMPT)
        started.type(f"/quit{ENTER}")
        assert started.finish() == 0
    file = tmp_path / "aichatfree" / "chat_history"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_the_chat_makes_answers_safe(terminal: Start) -> None:
    with LocalServer(responder=scripted_responder(["\x1b]0;owned\x07", "\x9b"])) as server:
        started = terminal("chat", AICHATFREE_BASE_URL=server.url)
        started.read_until(PROMPT)
        started.type(f"one{ENTER}")
        started.read_until("]0;owned")
        started.read_until(PROMPT)
        started.type(CTRL_D)
        assert started.finish() == 0
    assert b"\x1b]0;owned" not in started.seen
    assert b"\x07" not in started.seen
    assert "\x9b" not in started.seen.decode()


def test_ctrl_c_ends_serve_well(terminal: Start) -> None:
    started = terminal("serve", "--port", "0")
    started.read_until("http://127.0.0.1:")
    started.read_until("\n")
    started.type(CTRL_C)
    assert started.finish() == 0
    assert b"Traceback" not in started.seen
