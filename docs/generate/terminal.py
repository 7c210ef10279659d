"""The picture of the home page: a terminal session that really took place, while the site was built.

A shell is typed at by pexpect, pyte is its terminal, and rich draws what stands on the screen at the end.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import pexpect
import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

from aichatfree_sdk.server import ChatMessage
from aichatfree_sdk.testing import LocalServer

COLUMNS, LINES = 72, 50
PATIENCE = 60  # seconds for a command, on a machine that may be busy
SHELL, CHAT = "$ ", "> "  # what stands before the cursor where one may type

HELLO = """\
from aichatfree_sdk import Client

for delta in Client().stream("Say hello in three languages"):
    print(delta, end="", flush=True)
"""
# What is typed, and what one waits for before that.
SESSION = (
    (SHELL, "aichatfree chat --conversation chat.json"),
    (CHAT, "Capital of France?"),
    (CHAT, "And of Japan?"),
    (CHAT, "/quit"),
    (SHELL, "cat hello.py"),
    (SHELL, "python hello.py"),
    (SHELL, "echo 'Capital of France?' | aichatfree ask - | tr a-z A-Z; echo"),
)
ANSWERS = {
    "Capital of France?": "Paris.",
    "And of Japan?": "Tokyo.",
    "Say hello in three languages": "Hello! ¡Hola! Γειά σου!\n",
}


def svg() -> str:
    """Hold the session and return the picture of its end."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "hello.py").write_text(HELLO, "utf-8")
        variables = {
            "HOME": folder,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "PS1": rf"\[\e[32m\]{SHELL}\[\e[0m\]",
        }
        shell = ["--norc", "--noprofile", "--noediting"]
        program = pexpect.spawn("bash", shell, env=variables, cwd=folder, dimensions=(LINES, COLUMNS))
        with contextlib.closing(program), LocalServer(responder=answer) as server:
            terminal = Terminal(program)
            terminal.type(SHELL, f"export AICHATFREE_BASE_URL={server.url}; clear")
            for prompt, line in SESSION:
                terminal.type(prompt, line)
            terminal.wait_for(SHELL)
        return draw(terminal.screen)


def answer(messages: tuple[ChatMessage, ...]) -> str:
    """Stand in for a model."""
    return ANSWERS[messages[-1].text]


class Terminal:
    """A screen with a program behind it."""

    def __init__(self, program: pexpect.spawn) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self._program = program

    def type(self, prompt: str, line: str) -> None:
        """Wait for the prompt, type a line, and wait until it is there."""
        self.wait_for(prompt)
        self._program.send(line)
        self.wait_for(prompt + line)
        self._program.send("\r")

    def wait_for(self, text: str) -> None:
        """Read on until the cursor stands behind ``text`` in its line."""
        deadline = time.monotonic() + PATIENCE
        while not (self._line == text.rstrip() and self.screen.cursor.x == len(text) % COLUMNS):
            patience = max(0, deadline - time.monotonic())
            self._stream.feed(self._program.read_nonblocking(4096, timeout=patience))

    @property
    def _line(self) -> str:
        return self.screen.display[self.screen.cursor.y].rstrip()


def draw(screen: pyte.Screen) -> str:
    """Return what is on the screen."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), legacy_windows=False)
    last = max(number for number, line in enumerate(screen.display) if line.strip(f"{SHELL} "))
    for number in range(last + 1):
        cells = [screen.buffer[number][column] for column in range(COLUMNS)]
        line = Text.assemble(*((cell.data, style(cell)) for cell in cells))
        line.rstrip()
        console.print(line)
    picture = console.export_svg(title="aichatfree", theme=MONOKAI, unique_id="terminal")
    return re.sub(r"@font-face {.*?}", "", picture, flags=re.DOTALL)  # it asks another host for the font


def style(cell: pyte.screens.Char) -> Style:
    """Return how a cell looks."""
    return Style(color=None if cell.fg == "default" else cell.fg, bold=cell.bold)
