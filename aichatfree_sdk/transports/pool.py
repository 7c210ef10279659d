"""Connections that httpcore's pool forgets, found and closed.

A request that ends between two steps of httpcore's (cancelled after its connection is made and before it is used, or
while TLS begins behind a proxy) leaves a connection in the pool that is neither idle nor closed and belongs to nobody.
It keeps its slot, and perhaps its socket, for good: https://github.com/encode/httpcore/issues/1093, and pull request
1099, whose rule this is. httpcore gets no releases any more; httpcore2 has a part of it.

There is no public way to such a connection, so this looks at private attributes, and does nothing where they are not
there: the client's own transport, a mock, another pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def reclaim(http_client: Any) -> None:
    """Close what a request that failed may have left in the pools of ``http_client``."""
    for pool in _pools_of(http_client):
        closing = _take_orphans(pool)
        if closing:
            pool._close_connections(closing)  # noqa: SLF001


async def areclaim(http_client: Any) -> None:
    """Close what a request that failed may have left in the pools of ``http_client``."""
    for pool in _pools_of(http_client):
        closing = _take_orphans(pool)
        if closing:
            await pool._close_connections(closing)  # noqa: SLF001


def _pools_of(http_client: Any) -> Iterator[Any]:
    for transport in (getattr(http_client, "_transport", None), *getattr(http_client, "_mounts", {}).values()):
        pool = getattr(transport, "_pool", None)
        if hasattr(pool, "_assign_requests_to_connections"):
            yield pool


def _take_orphans(pool: Any) -> list[Any]:
    """Take the connections that belong to no request out of the pool, and return them with others to be closed."""
    with pool._optional_thread_lock:  # noqa: SLF001
        owned = {id(request.connection) for request in pool._requests}  # noqa: SLF001
        orphans = [
            connection
            for connection in pool.connections
            if id(connection) not in owned and not connection.is_idle() and not connection.is_closed()
        ]
        if not orphans:
            return []
        pool._connections = [it for it in pool.connections if it not in orphans]  # noqa: SLF001
        return [*orphans, *pool._assign_requests_to_connections()]  # noqa: SLF001 - somebody may wait for the slots
