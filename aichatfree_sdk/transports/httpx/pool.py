"""Connections that httpcore's pool forgets, found and closed.

A request that ends between two steps of httpcore's (cancelled after its connection is made and before it is used, or
while TLS begins behind a proxy) leaves a connection in the pool that is neither idle nor closed and belongs to nobody.
It keeps its slot, and perhaps its socket, for good: https://github.com/encode/httpcore/issues/1093, and pull request
1099, whose rule this is. A Ctrl-C in the middle of closing leaves the request in the pool as well: it has been marked
closed by then. httpcore gets no releases any more; httpcore2 has mended a part of it.

There is no public way to such a connection, so this looks at private attributes, and does nothing where they are not
there: a transport of the user's own, a mock, another pool.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

# The extension of a request that says which one it is; httpx and httpcore hand on those that they do not know.
OWNER = "aichatfree_sdk"


def harden(http_client: Any) -> None:
    """Give the pools of ``http_client``, which nobody is using now, locks that no Ctrl-C leaves locked.

    httpcore's own is entered by a function in Python; one that strikes there, after the lock was taken, locks the pool
    for good. Nothing can strike between the entry of a lock of the interpreter's own and the block.
    """
    for pool in _pools_of(http_client):
        pool._optional_thread_lock = threading.Lock()  # noqa: SLF001


def reclaim(http_client: Any, owner: object) -> None:
    """Close what the request of ``owner``, which is over, may have left in the pools."""
    for pool in _pools_of(http_client):
        closing = _take_left(pool, owner)
        if closing:
            pool._close_connections(closing)  # noqa: SLF001


async def areclaim(http_client: Any, owner: object) -> None:
    """Close what the request of ``owner``, which is over, may have left in the pools."""
    for pool in _pools_of(http_client):
        closing = _take_left(pool, owner)
        if closing:
            await pool._close_connections(closing)  # noqa: SLF001


def _pools_of(http_client: Any) -> Iterator[Any]:
    for transport in (getattr(http_client, "_transport", None), *getattr(http_client, "_mounts", {}).values()):
        pool = getattr(transport, "_pool", None)
        if hasattr(pool, "_assign_requests_to_connections"):
            yield pool


def _take_left(pool: Any, owner: object) -> list[Any]:
    """Take that request, and the connections that belong to none, out of the pool; return what is to be closed."""
    with pool._optional_thread_lock:  # noqa: SLF001
        requests = [it for it in pool._requests if it.request.extensions.get(OWNER) is not owner]  # noqa: SLF001
        owned = {id(request.connection) for request in requests}
        connections = [it for it in pool.connections if id(it) in owned or _is_sound(it)]
        orphans = [it for it in pool.connections if it not in connections]
        if not orphans and len(requests) == len(pool._requests):  # noqa: SLF001
            return []
        pool._requests, pool._connections = requests, connections  # noqa: SLF001
        return [*orphans, *pool._assign_requests_to_connections()]  # noqa: SLF001 - somebody may wait for the slots


def _is_sound(connection: Any) -> bool:
    """Tell whether a connection that belongs to no request can be used again, or is known to be closed."""
    return bool(connection.is_closed() or connection.is_idle()) and not _is_locked(connection)


def _is_locked(connection: Any) -> bool:
    """Tell whether a Ctrl-C left a lock of a connection, or of the one inside of it, locked; why, says `harden`."""
    held = [getattr(connection, name, None) for name in ("_request_lock", "_connect_lock", "_state_lock")]
    if any(lock is not None and hasattr(lock, "_lock") and lock._lock.locked() for lock in held):  # noqa: SLF001
        return True
    inner = getattr(connection, "_connection", None)
    return inner is not None and _is_locked(inner)
