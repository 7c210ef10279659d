"""A network for httpcore's pool on which only the time of a clock passes that is moved by hand.

What is sent goes at once, and what comes takes as long as it is said to.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from attrs import define, field
from virtual import Clock


@define(eq=False)
class TimedNetwork:
    """A blocking backend of httpcore's.

    Attributes:
        core: httpcore or httpcore2.
        clock: what waiting moves.
        arrivals: what comes, and how many seconds after the wait for it begins.
    """

    core: ModuleType
    clock: Clock = field(factory=Clock)
    arrivals: list[tuple[float, bytes]] = field(factory=list)

    def connect_tcp(self, *_: Any, **__: Any) -> Any:
        return _Stream(self)

    def read(self, timeout: float | None) -> bytes:
        if not self.arrivals:
            raise self.core.ReadError("the connection is closed")
        seconds, data = self.arrivals[0]
        # As on a socket, what comes in the very moment in which a wait ends is there.
        if timeout is not None and seconds > timeout:
            self.clock.now += timeout
            raise self.core.ReadTimeout("nothing came")
        self.clock.now += seconds
        del self.arrivals[0]
        return data


class AsyncTimedNetwork(TimedNetwork):
    """The same for async clients."""

    async def connect_tcp(self, *_: Any, **__: Any) -> Any:
        return _AsyncStream(self)


class _Stream:
    def __init__(self, network: TimedNetwork) -> None:
        self.network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return self.network.read(timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> Any:
        pass

    def close(self) -> None:
        self.network.arrivals.clear()

    def get_extra_info(self, info: str) -> None:
        pass


class _AsyncStream(_Stream):
    async def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return self.network.read(timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> Any:
        pass

    async def aclose(self) -> None:
        self.close()
