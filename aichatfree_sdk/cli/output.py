"""What the command writes: answers and JSON to stdout, everything else in one line each to stderr.

Answers on a terminal go through `TerminalFilter` and end with a newline. Anywhere else (a pipe, a file) they are
written as they came: UTF-8, no newline added or translated.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from .terminal import TerminalFilter, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

_REVERSE, _NOT_REVERSE = "\x1b[7m", "\x1b[27m"


def prepare_streams() -> None:
    """Let no character make a print fail, and pipes carry the answer's own bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if stream is sys.stdout and not stream.isatty():
                stream.reconfigure(encoding="utf-8", newline="\n")


def standard_output() -> TextIO:
    """Return stdout; raises OSError where the process was started without one (``>&-``)."""
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] # typeshed does not know of >&-
        raise OSError("there is no standard output to write to: it was closed")
    return sys.stdout


def _may_style(stream: TextIO) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or os.name == "nt"
    return stream.isatty() and not plain


class AnswerPrinter:
    """Writes one answer to stdout as it comes.

    Args:
        separate: end it with a newline even where stdout is no terminal: other answers follow.
    """

    def __init__(self, *, separate: bool = False) -> None:
        self._out = standard_output()
        on_terminal = self._out.isatty()
        marks = (_REVERSE, _NOT_REVERSE) if _may_style(self._out) else ("", "")
        self._filter = TerminalFilter(*marks) if on_terminal else None
        self._ends_line = on_terminal or separate
        self._last = ""

    def write(self, delta: str) -> None:
        """Write some of the answer."""
        self._put(delta if self._filter is None else self._filter.feed(delta))

    def end(self) -> None:
        """Write what was held back, and the newline; also after an answer that failed."""
        rest = "" if self._filter is None else self._filter.finish()
        last = rest or self._last
        self._put(f"{rest}\n" if self._ends_line and last and not last.endswith("\n") else rest)

    def _put(self, text: str) -> None:
        if text:
            self._last = text
            self._out.write(text)
            self._out.flush()


def put_json(data: Mapping[str, Any]) -> None:
    """Write one JSON object on one line of stdout, in ASCII: it can be shown anywhere and hides nothing."""
    put_line(json.dumps(data, ensure_ascii=True))


def put_line(text: str) -> None:
    """Write one line of our own to stdout."""
    out = standard_output()
    out.write(f"{text}\n")
    out.flush()


def put_notice(text: str, *, label: str = "", style: str = "") -> None:
    """Write one line to stderr, made safe; ``label`` stands before it in ``style`` where colours are wanted."""
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison] # as for stdout
        return
    from rich.console import Console
    from rich.text import Text

    class Stderr(Console):
        def on_broken_pipe(self) -> None:
            """Do nothing; rich would exit, and send stdout nowhere."""

    # rich itself sees to NO_COLOR, to what is no terminal, and to the Windows console.
    console = Stderr(stderr=True, soft_wrap=True, highlight=False)
    line = Text.assemble((label, style), " " if label else "", one_line(text))
    with contextlib.suppress(OSError):  # nobody is left to be told
        console.print(line)


def put_error(text: str) -> None:
    """Write one line that says what went wrong to stderr."""
    put_notice(text, label="error:", style="red")


def put_usage(text: str) -> None:
    """Write what is wrong with the command line to stderr, made safe: it may quote the name of somebody else's file."""
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison] # as for stdout
        return
    safe = TerminalFilter()
    with contextlib.suppress(OSError):
        sys.stderr.write(safe.feed(text) + safe.finish())


def settle_streams() -> None:
    """Flush stdout and stderr; what one does not take goes nowhere, as Python's own exit code would beat ours."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None after >&-
        try:
            stream.flush()
        except OSError:
            _drop(stream)


def _drop(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
