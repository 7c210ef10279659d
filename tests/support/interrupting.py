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
told = sys.argv.pop(1)
Interruption(sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1)), int(sys.argv.pop(1)), told).begin()
from aichatfree_sdk.cli.__main__ import main
main()
"""


def interrupted_command(told: Path, file: str, function: str, step: int, signal: int) -> tuple[str, ...]:
    """Return how to start ``aichatfree`` so that ``signal`` strikes it at that step of that function.

    The file ``told`` then has a line for each step in the function itself, and as the last one, for the step that was
    struck, if there was such a step.
    """
    return (sys.executable, "-c", _COMMAND, str(SUPPORT), str(told), file, function, str(step), str(signal))


@define
class Interruption:
    """Sends a signal at one step of a function and all that it calls, in the thread that began this.

    Args:
        file: how the name of the function's file ends.
        function: its name.
        step: which step, from 1; the first is its own beginning. At 0 none is sent, and all are counted.
        signal: the number of the signal.
        told: the name of a file that another process learns from which steps there were, or None.

    Attributes:
        steps: how many there were until it was sent.
        where: the step at which it was.
    """

    file: str
    function: str
    step: int
    signal: int
    told: str | None = None
    steps: int = field(default=0, init=False)
    where: str = field(default="", init=False)
    _inside: FrameType | None = field(default=None, init=False)

    def begin(self) -> None:
        sys.setprofile(self._see)

    def _see(self, frame: FrameType, event: str, given: Any) -> None:
        code = frame.f_code
        if self._inside is None and event == "call" and code.co_name == self.function:
            self._inside = frame if code.co_filename.endswith(self.file) else None
        if self._inside is None or event == "c_call":
            return
        # At the beginning of a finalizer, nothing can be done yet against what Python does: it shows the exception, and
        # the finalizer does not run. And before 3.12, it makes a RuntimeError of what is raised in a __set_name__.
        if code.co_name == "__set_name__" or (code.co_name == "__del__" and event == "call"):
            return
        self.steps += 1
        if self.steps == self.step:
            sys.setprofile(None)
            self.where = _place(frame, event, given)
            self._tell(self.where)
            self._inside = None  # a frame keeps all that it has in its hands, and its callers
            os.kill(os.getpid(), self.signal)
        elif frame is self._inside:
            self._tell(_place(frame, event, given))
            self._inside = None if event == "return" else frame

    def _tell(self, place: str) -> None:
        if self.told is not None:
            with Path(self.told).open("a") as file:
                file.write(f"{self.steps} {place}\n")


def _place(frame: FrameType, event: str, given: Any) -> str:
    name = given.__name__ if event.startswith("c_") else frame.f_code.co_qualname
    return f"{event} of {name} ({frame.f_code.co_filename}:{frame.f_lineno})"
