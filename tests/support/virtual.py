"""An exchange without a network and without time: a request that costs nothing to make, a clock that the test moves."""

from __future__ import annotations

from aichatfree_sdk.core.request import Request

URL = "http://chat.example"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class OneCall:
    _request = Request("POST", URL, (), b"")

    def stamp(self, time_ms: int) -> Request:
        return self._request
