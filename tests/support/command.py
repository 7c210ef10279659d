"""The real command in a process of its own, with pipes or on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

import aichatfree_sdk

ROOT = Path(aichatfree_sdk.__file__).parents[1]
COMMAND = (sys.executable, "-m", "aichatfree_sdk.cli")
CTRL_C = "\x03"
PATIENCE = 20.0  # seconds until a test gives up on something that should have happened
# What a developer's own shell may hold and a test must not see.
_FOREIGN = re.compile(
    r"AICHATFREE_.*|.*_proxy|NO_COLOR|FORCE_COLOR|CLICOLOR.*|TTY_.*|PYTHON(?!PATH).*|PROMPT_TOOLKIT.*|TERM|COLUMNS|LINES",
    re.IGNORECASE,
)


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, "PYTHONWARNINGS": "error", "TERM": "xterm", **variables}


@attrs.frozen
class Result:
    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def json(self) -> dict[str, Any]:
        assert self.raw.endswith(b"\n")
        assert self.raw.count(b"\n") == 1
        data: dict[str, Any] = json.loads(self.raw)
        return data


def run_command(*arguments: str | bytes, stdin: bytes = b"", **variables: str) -> Result:
    """Run the command to its end, and check that it shows nothing of Python's."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(**variables),
        timeout=PATIENCE,
        check=False,
    )
    err = done.stderr.decode()
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    return Result(done.returncode, done.stdout, err)


# A child cannot take the terminal as its own without code between fork and exec; this is that code.
_ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def wait_until_it_waits(process: subprocess.Popen[Any]) -> None:
    """Wait until the process has nothing to do but to wait.

    A signal in the moment in which a wait begins, Python sees at its end only: whoever presses Ctrl-C presses it again.
    """
    deadline, stat, asleep = time.monotonic() + PATIENCE, Path(f"/proc/{process.pid}/stat"), 0
    while stat.exists() and asleep < 20:  # some waits are short
        assert time.monotonic() < deadline, "it does not come to rest"
        asleep = asleep + 1 if stat.read_text().rpartition(") ")[2].startswith("S") else 0
        os.sched_yield()


class Terminal:
    """The command on a pseudo-terminal, and somebody who types and reads.

    Args:
        arguments: of the command.
        variables: of its environment.
        stdin: what it reads instead of what is typed.
        command: how it is started.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        variables: dict[str, str],
        stdin: int | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        import fcntl
        import termios

        self._master, slave = os.openpty()
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *command, *arguments],
            stdin=slave if stdin is None else stdin,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=environment(**{"PROMPT_TOOLKIT_NO_CPR": "1", **variables}),
        )
        os.close(slave)
        self.seen = b""
        self._unread = b""

    def type(self, text: str) -> None:
        if text == CTRL_C:
            wait_until_it_waits(self.process)
        os.write(self._master, text.encode())

    def send_signal(self, number: int) -> None:
        wait_until_it_waits(self.process)
        self.process.send_signal(number)

    def read_until(self, marker: str) -> str:
        """Read on until the marker has come since the last call, and return what stood before it."""
        deadline = time.monotonic() + PATIENCE
        while marker.encode() not in self._unread:
            assert self._read(deadline), f"no {marker!r} in {self._unread!r}"
        before, _, self._unread = self._unread.partition(marker.encode())
        return before.decode()

    def finish(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"nothing more came after {self.seen!r}"
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: nobody has the terminal open any more
            return False
        self.seen += data
        self._unread += data
        return bool(data)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._master)
