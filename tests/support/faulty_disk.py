"""The calls to the operating system that saving a file takes, counted, one of them made to fail.

What is replaced is Python's own way to the kernel: functions of `os`, and the file objects of `open`. As a script, this
file saves conversations in children of its own that are killed, or limited, in the middle of it; see `Victims`.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal, Self
from unittest import mock

from attrs import asdict, define, field, frozen

from aichatfree_sdk import Conversation

# "half": half of what is to be written was, or for any other call, as "before".
Moment = Literal["before", "half", "after"]
_FUNCTIONS = ("lstat", "stat", "readlink", "open", "fsync", "close", "chmod", "rename", "replace", "unlink")


@define
class Disk:
    """The calls that were made, and what happens at which of them.

    Args:
        at: the number of the call, from 1, that `strike` comes at; 0 for none.
        moment: when it comes.
        strike: returns what is raised, or ends the process.
        for_ever: also at every call after that one.
    """

    at: int
    moment: Moment
    strike: Callable[[], BaseException | None]
    for_ever: bool = False
    calls: list[str] = field(factory=list)
    struck: bool = False

    @contextlib.contextmanager
    def replaced(self) -> Iterator[None]:
        """Send the calls of everybody in this process through here."""
        with contextlib.ExitStack() as stack:
            for name in _FUNCTIONS:
                stack.enter_context(mock.patch.object(os, name, self._counted(name, getattr(os, name))))
            stack.enter_context(mock.patch.object(builtins, "open", self._open))
            yield

    def call(self, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.calls.append(name)
        now = len(self.calls) == self.at or (self.for_ever and self.at < len(self.calls))
        if now and self.moment == "half" and name == "write":
            function(args[0][: len(args[0]) // 2])
        if now and self.moment != "after" and name != "close":
            self._strike()
        try:
            result = function(*args, **options)
            if now and name == "open":  # nobody will know its number
                _close(result)
            return result
        finally:
            if now:  # the kernel takes a descriptor away even where close fails
                self._strike()

    def _strike(self) -> None:
        self.struck = True
        if (error := self.strike()) is not None:
            raise error

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: self.call(name, function, *args, **options)

    def _open(self, file: int, mode: str) -> io.BufferedWriter:
        assert mode == "wb"
        return io.BufferedWriter(_File(self, file))


_close = os.close


class _File(io.FileIO):
    def __init__(self, disk: Disk, descriptor: int) -> None:
        super().__init__(descriptor, "wb")
        self._disk = disk

    def write(self, data: Any) -> int:
        return int(self._disk.call("write", super().write, data))

    def close(self) -> None:
        if not self.closed:
            self._disk.call("close", super().close)


@frozen
class Victim:
    """A process that saves a conversation, and what becomes of it.

    Args:
        path: the file.
        at: at which call to the operating system it is killed; 0 for none.
        moment: when.
        most: after how many bytes of a file it is killed, or None.
        user: the numeric id of the user that it becomes first, or None.
    """

    path: str
    at: int = 0
    moment: Moment = "before"
    most: int | None = None
    user: int | None = None

    def live(self) -> None:
        """Save, in the child."""
        if self.user is not None:
            os.setgroups([])
            os.setgid(self.user)
            os.setuid(self.user)
        if self.most is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.most, self.most))
        with Disk(self.at, self.moment, lambda: os.kill(os.getpid(), signal.SIGKILL)).replaced():
            NEW.save(self.path)


OLD = Conversation("Système", [{"role": "user", "content": "old 👋"}, {"role": "assistant", "content": "alt"}])
NEW = Conversation(None, [*OLD.messages, {"role": "user", "content": "new " * 3000}])


class Victims:
    """A process that makes victims, one after the other; it has no threads, so it may fork."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)
        assert self._process.returncode == 0

    def save(self, victim: Victim) -> str:
        """Return how it ended: "saved", the name of a signal, or an OSError's class and file name."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(victim)) + "\n")
        self._process.stdin.flush()
        return str(json.loads(self._process.stdout.readline()))


def _fate_of(victim: Victim) -> str:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            victim.live()
            os.write(writer, b"saved")
        except OSError as error:
            os.write(writer, f"{type(error).__name__} {error.filename}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:  # noqa: PTH123
        told = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else told


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_fate_of(Victim(**json.loads(line)))), flush=True)  # noqa: T201 - who started it reads this
