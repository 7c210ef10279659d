"""A signal that strikes this very process at a step that is chosen, the same one every time.

A step is what Python's profiler sees, where Python looks for signals: a function of its own begins or ends, or one of
C's has ended. Before one of C's it does not look: a lock that a with block is about to leave is left.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import define, field

SUPPORT = Path(__file__).parent
# The command, as its console script starts it, but for a signal on the way; the arguments follow.
_COMMAND = """
import sys
sys.path.append(sys.argv.pop(1))
from interrupting import Interruption
Interruption(sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1)), int(sys.argv.pop(1))).begin()
from aichatfree_sdk.cli.__main__ import main
main()
"""


def interrupted_command(file: str, function: str, step: int, signal: int) -> tuple[str, ...]:
    """Return how to start ``aichatfree`` so that ``signal`` strikes it at that step of that function."""
    return (sys.executable, "-c", _COMMAND, str(SUPPORT), file, function, str(step), str(signal))


# Python shows what a finalizer, a generator that is dropped or a weak reference's callback raises, and goes on:
# importlib's locks have one of these, httpx an auth flow, and httpcore its retries.
_SWALLOWING = ("__del__", "<genexpr>", "auth_flow", "cb", "exponential_backoff")


@define
class Interruption:
    """Sends a signal at one step of a function and all that it calls, in the thread that began this.

    Args:
        file: how the name of the function's file ends.
        function: its name.
        step: which step, from 1; the first is its own beginning.
        signal: the number of the signal.

    Attributes:
        steps: how many there were until it was sent.
        where: the step at which it was.
    """

    file: str
    function: str
    step: int
    signal: int
    steps: int = field(default=0, init=False)
    where: str = field(default="", init=False)
    _inside: FrameType | None = field(default=None, init=False)

    def begin(self) -> None:
        sys.setprofile(self._see)

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if self._inside is None and event == "call" and code.co_name == self.function:
            self._inside = frame if code.co_filename.endswith(self.file) else None
        if self._inside is None or event == "c_call":
            return
        if event == "return" and frame is self._inside:
            self._inside = None
        if code.co_name in _SWALLOWING:
            return
        self.steps += 1
        if self.steps == self.step:
            sys.setprofile(None)
            self.where = f"{event} of {code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
            self._inside = None  # a frame keeps all that it has in its hands, and its callers
            os.kill(os.getpid(), self.signal)
