"""An exchange without a network and without time: a request that costs nothing to make, a clock that the test moves."""

from __future__ import annotations

from aichatfree_sdk import Timeout
from aichatfree_sdk.core.request import Request

URL = "http://chat.example"
NEVER = Timeout(connect=None, first_text=None, idle=None, total=None)
# Each limit with what passes: a tick less, all of it, a tick more. All of it is exact in binary.
AROUND = [(limit, off) for limit in (0.5, 1.0, 7.0, 120.0) for off in (-0.25, 0.0, 0.25)]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class OneCall:
    _request = Request("POST", URL, (), b"")

    def stamp(self, time_ms: int) -> Request:
        return self._request
