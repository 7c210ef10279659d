"""The pages of the documentation as what a reader would do with them.

The blocks of a page belong together and run in their order:

- ```` ```python ```` runs in one namespace for the page. With ``title="name.py"`` it is a file, for a shell to run.
- ```` ```text ```` right behind it is what it prints; ``...`` stands for what differs each time, in a line.
- ```` ```console ```` is a shell: commands behind ``$ ``, and below each what it prints. A command may fail only where
  it says so. A ``title`` with the word "terminal" makes it another one, whose command runs on until the page ends.
- ```` ```bash ```` has no output to compare, and is for what a test should not do, such as installing.

A line ``asyncio.run(...)  # or trio.run(...)`` has the page run on both. The server at ``http://127.0.0.1:8000`` is the
embedded one, and the environment names it too, unless the page starts its own with ``--port 8000``. What a page sets in
``os.environ`` holds to its end.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from attrs import frozen

from aichatfree_sdk.testing import LocalServer

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BACKENDS = ("asyncio", "trio")
PATIENCE = 60  # seconds for a shell block

_FENCE = re.compile(r"^( *)```(\w+) ?([^\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_ANY_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})", re.MULTILINE)
ON_BOTH = re.compile(r"asyncio\.run\(.*\)  # or (trio\.run\(.*\))$", re.MULTILINE)
_PORT = re.compile(r"(?<=127\.0\.0\.1:)80\d\d|(?<=--port )80\d\d")


@frozen
class Block:
    """A fenced block of a page.

    Args:
        line: where it stands in the page, for tracebacks.
        kind: the language it says it is in.
        title: its title, or "".
        text: what is in it.
        output: what stands in the ```` ```text ```` right behind it; None where there is none.
    """

    line: int
    kind: str
    title: str
    text: str
    output: str | None


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page's Markdown.

    Raises:
        ValueError: there is a fence that is none of those above, and would go unread.
    """
    if 2 * len(_FENCE.findall(page)) != len(_ANY_FENCE.findall(page)):
        raise ValueError("a fence that cannot be read: three backticks and a word, closed at the same indentation")
    found: list[Block] = []
    end = 0
    for fence in _FENCE.finditer(page):
        indent, kind, info, text = fence.groups()
        text = re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
        if kind == "text" and found and not page[end : fence.start()].strip():
            last = found.pop()
            found.append(Block(last.line, last.kind, last.title, last.text, text))
        else:
            title = re.search(r'title="(.*?)"', info)
            line = page.count("\n", 0, fence.start()) + 1
            found.append(Block(line, kind, title[1] if title else "", text, None))
        end = fence.end()
    return found


def name_of(page: Path) -> str:
    """Return where a page is."""
    return os.path.relpath(page, ROOT)


def backends_of(page: Path) -> tuple[str, ...]:
    """Return the event loops a page is to run on."""
    return BACKENDS if ON_BOTH.search(page.read_text("utf-8")) else BACKENDS[:1]


def needs_g4f(page: Path) -> bool:
    """Return whether a page is for those who have g4f."""
    blocks = blocks_of(page.read_text("utf-8"))
    return any(re.search(r"^(from|import) g4f", block.text, re.MULTILINE) for block in blocks if block.kind == "python")


def check(wanted: str, got: str, where: str) -> None:
    """Raise AssertionError where what was printed is not what the page shows."""
    pattern = re.escape(_plain(wanted)).replace(re.escape("..."), "[^\n]*")
    if not re.fullmatch(pattern, _plain(got)):
        raise AssertionError(f"{where} prints\n{got}\nand not\n{wanted}")


def _plain(printed: str) -> str:
    """Return what was printed without the white space at the ends of lines, which a page cannot show."""
    return re.sub(r"[ \t]+$", "", printed, flags=re.MULTILINE).rstrip("\n") + "\n"


class Reader:
    """Somebody who follows one page, in a folder of their own.

    Args:
        page: the page.
        folder: where they are.
        backend: the event loop they use.
    """

    def __init__(self, page: Path, folder: Path, backend: str) -> None:
        self._page = page
        self._text = page.read_text("utf-8")
        if backend == "trio":
            self._text = ON_BOTH.sub(r"import trio; \1", self._text)
        self._folder = folder
        self._names: dict[str, object] = {"__name__": "__main__"}
        self._ports: dict[str, str] = {}
        self._variables: dict[str, str] = {}
        self._running: list[tuple[subprocess.Popen[str], str]] = []
        self._exits = contextlib.ExitStack()

    def follow(self) -> None:
        """Do what the page says, and see what it says one sees."""
        (self._folder / ".exported").touch()  # what a shell leaves to the next
        with self._exits:
            self._prepare()
            self._exits.enter_context(patch.dict(os.environ, self._variables))  # what a page sets there ends with it
            for block in blocks_of(self._text):
                where = f"{name_of(self._page)}:{block.line}"
                if block.kind == "python" and block.title:
                    (self._folder / block.title).write_text(self._here(block.text), "utf-8")
                elif block.kind == "python":
                    self._run_python(block, where)
                elif block.kind == "console":
                    self._run_shell(block, where)
            for process, where in self._running:
                assert process.poll() is None, f"{where} does not run on: exit code {process.returncode}"

    def _prepare(self) -> None:
        self._ports = {port: free_port() for port in set(_PORT.findall(self._text)) - {"8000"}}
        if "--port 8000" in self._text:
            self._ports["8000"] = free_port()
        else:
            server = self._exits.enter_context(LocalServer())
            self._ports["8000"] = server.url.rpartition(":")[2]
            self._variables["AICHATFREE_BASE_URL"] = server.url

    def _here(self, text: str) -> str:
        """Return the text with this machine's ports."""
        return _PORT.sub(lambda port: self._ports[port[0]], text)

    def _there(self, text: str) -> str:
        """Return the text with the page's ports."""
        for port, free in self._ports.items():
            text = text.replace(f":{free}", f":{port}")
        return text

    def _run_python(self, block: Block, where: str) -> None:
        printed = io.StringIO()
        source = "\n" * block.line + self._here(block.text)  # so that tracebacks tell the line of the page
        with contextlib.redirect_stdout(printed):
            exec(compile(source, str(self._page), "exec"), self._names)
        if block.output is not None:
            check(block.output, self._there(printed.getvalue()), where)

    def _run_shell(self, block: Block, where: str) -> None:
        for command, wanted in commands_of(block.text):
            run = self._run_on if "terminal" in block.title else self._run_command
            run(self._here(command), wanted, f"{where}: {command}")

    def _run_command(self, command: str, wanted: str, where: str) -> None:
        with self._shell(f". ./.exported\n{command}\ncode=$?\nexport -p >.exported\nexit $code") as process:
            try:
                printed, _ = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        check(wanted, self._there(printed), where)
        assert wanted or not process.returncode, f"{where} fails without a word: exit code {process.returncode}"

    def _run_on(self, command: str, wanted: str, where: str) -> None:
        """Start a command that runs on, and read the lines that it begins with."""
        process = self._exits.enter_context(self._shell(f"exec {command}"))
        self._exits.callback(process.kill)
        self._running.append((process, where))
        assert process.stdout is not None
        printed = "".join(process.stdout.readline() for _ in wanted.splitlines())
        check(wanted, self._there(printed), where)

    def _shell(self, script: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            cwd=self._folder,
            env=self._shell_variables(),
        )

    def _shell_variables(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"PATH": path, "HOME": str(self._folder), "LC_ALL": "C.UTF-8", "COLUMNS": "80", "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **own}


def commands_of(session: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a shell block, each with what it is to print."""
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\") or re.match(r"> ", output):
            line, _, output = output.partition("\n")
            command += "\n" + line.removeprefix("> ")
        yield command, output


def free_port() -> str:
    """Return a TCP port nobody listens on, from those that no outgoing connection is given."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return str(port)
