"""httpx, and httpx2, its maintained fork: whichever the client given to us is from.

The connections that requests open are tapped (`wire`), so that they follow a request's `Limits` at every wait.
A connection that somebody else opened on the same client, or a mock without connections, has no tap: there httpx's own
timeouts hold, the longest of ours for each wait.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asynchronous import AsyncHttpxTransport
    from .blocking import HttpxTransport

_ROOMS = {"AsyncHttpxTransport": "asynchronous", "HttpxTransport": "blocking"}


def __getattr__(name: str) -> Any:
    # A program of threads shall not pay for an event loop's libraries.
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)


__all__ = ["AsyncHttpxTransport", "HttpxTransport"]
