"""``aichatfree chat``: a conversation, line by line."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from aichatfree_sdk import AIChatFreeError, Client, Conversation, InvalidArgumentError

from .ask import decode_line
from .connection import Target, connect, open_conversation
from .exits import ExitCode, describe, exit_code
from .output import AnswerPrinter, put_error, put_notice, standard_output

if TYPE_CHECKING:
    from prompt_toolkit.history import History

_HELP = "/undo takes the last turn back; /save PATH writes the conversation; /quit ends; //text sends /text"


def chat(target: Target, *, system: str | None, path: Path | None, keep_history: bool) -> ExitCode:
    """Take lines until they end, answer each, and return the exit code."""
    interactive = sys.stdin is not None and sys.stdin.isatty() and standard_output().isatty()  # pyright: ignore[reportUnnecessaryComparison]
    conversation = open_conversation(path, system)
    with connect(target) as client:
        session = Session(client, conversation, path, interactive)
        if interactive:
            put_notice(f"{client.settings.base_url}; /help says what can be typed, Ctrl-D ends")
        for line in _typed_lines(keep_history) if interactive else _piped_lines(session.fail):
            if session.take(line):
                break
    return ExitCode.OK if interactive else session.failure


@define
class Session:
    """A chat under way.

    Args:
        client: who answers.
        conversation: what was said.
        path: the file that follows the conversation.
        interactive: somebody sits at the terminal; Ctrl-C then stops an answer, not the chat.
    """

    client: Client
    conversation: Conversation
    path: Path | None
    interactive: bool
    failure: ExitCode = field(default=ExitCode.OK, init=False)

    def take(self, line: str) -> bool:
        """Do what a line says; return whether it ends the chat."""
        if not line.strip():
            return False
        try:
            if line.startswith("/") and not line.startswith("//"):
                return self._command(*line.split(maxsplit=1))
            self._answer(line.removeprefix("/") if line.startswith("//") else line)
        except BrokenPipeError:
            raise
        except (AIChatFreeError, OSError) as error:
            self.fail(error)
        return False

    def fail(self, error: Exception) -> None:
        """Show an error; the chat goes on."""
        put_error(describe(error))
        self.failure = exit_code(error)

    def _answer(self, prompt: str) -> None:
        printer = AnswerPrinter(separate=True)
        try:
            with self.client.stream(prompt, conversation=self.conversation) as stream:
                for delta in stream:
                    printer.write(delta)
        except KeyboardInterrupt:
            if not self.interactive:
                raise
            printer.end()
            put_notice("stopped; this turn is forgotten")
            return
        except AIChatFreeError:
            printer.end()
            raise
        printer.end()
        self._follow()

    def _follow(self) -> None:
        if self.path is not None:
            self.conversation.save(self.path)

    def _command(self, name: str, argument: str = "") -> bool:
        if name == "/quit":
            return True
        if name == "/help":
            put_notice(_HELP)
        elif name == "/undo":
            undone = self.conversation.undo()
            put_notice("the last turn is forgotten" if undone else "there is no turn to undo")
            self._follow()
        elif name == "/save":
            self._save(argument.strip())
        else:
            raise InvalidArgumentError(name, f"is no command; {_HELP}")
        return False

    def _save(self, argument: str) -> None:
        path = Path(argument).expanduser() if argument else self.path
        if path is None:
            raise InvalidArgumentError("/save", "needs the path of a file")
        self.conversation.save(path)
        put_notice(f"saved to {path}")


def _typed_lines(keep_history: bool) -> Iterator[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    history: History = FileHistory(_history_file()) if keep_history else InMemoryHistory()
    session: PromptSession[str] = PromptSession(history=history)
    with contextlib.suppress(EOFError):
        while True:
            yield session.prompt("> ")


def _piped_lines(fail: Callable[[Exception], None]) -> Iterator[str]:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] # None after <&-
        return
    for line in sys.stdin.buffer:
        try:
            text = decode_line("stdin", line)
        except InvalidArgumentError as error:
            fail(error)
        else:
            yield text


def _history_file() -> Path:
    if os.name == "nt":
        state = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    directory = state / "aichatfree"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / "chat_history"
    file.touch(mode=0o600)  # what is typed is private
    return file
