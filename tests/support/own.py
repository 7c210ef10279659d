"""What a client makes for itself, over an httpx client of the tests', which trusts and connects as they need it."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx

from aichatfree_sdk.transports.httpx import AsyncHttpxTransport, HttpxTransport
from aichatfree_sdk.transports.httpx.connections import AsyncConnections, Connections
from aichatfree_sdk.transports.httpx.library import take_over
from aichatfree_sdk.transports.httpx.slots import Slots


def own(http: httpx.Client | httpx.AsyncClient, max_connections: int = 100) -> Any:
    """Return the transport that has ``http`` for its own; closing ``http`` closes all that it has."""
    transport: HttpxTransport | AsyncHttpxTransport
    if isinstance(http, httpx.Client):
        take_over(http, partial(Connections, most=max_connections))
        transport = HttpxTransport(http)
        transport.slots = Slots(max_connections)
    else:
        take_over(http, partial(AsyncConnections, most=max_connections))
        transport = AsyncHttpxTransport(http, max_connections=max_connections)
    transport._owned = True
    return transport


def given(http: Any, *, to_own: bool, max_connections: int = 100) -> dict[str, Any]:
    """Return the argument of a client that ``http`` is given to, for its own or as what it is."""
    return {"transport": own(http, max_connections)} if to_own else {"http_client": http}
