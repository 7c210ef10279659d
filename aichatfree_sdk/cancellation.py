"""asyncio's own cancellation, kept away from what it would break.

``task.cancel()``, and what is made of it (``asyncio.timeout``, ``asyncio.wait_for``, ``asyncio.TaskGroup``), gets
through every shield of anyio's. It strikes httpx's pool in the middle of its bookkeeping, which loses a connection for
good (https://github.com/encode/httpcore/issues/961, and 1093), and it strikes whatever is being cleaned up after it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def apart(call: Callable[[], Coroutine[Any, Any, T]], scope: anyio.CancelScope | None = None) -> T:
    """Await ``call()``, on asyncio in a task of its own, and let nothing but ``scope`` keep it from its end.

    Args:
        call: what is to be done.
        scope: a scope that the call enters; it is cancelled when the caller's task is. None lets the call come to its
            end before the cancellation goes on; it is begun again where every task was cancelled, as at a loop's end.
    """
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return await call()
    task = asyncio.create_task(call())
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        if scope is not None:
            scope.cancel()
        with anyio.CancelScope(shield=True):
            while not task.done() or (task.cancelled() and scope is None):
                task = asyncio.create_task(call()) if task.done() else task
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # the cancellation goes first; without this look, asyncio would complain
        raise
    return task.result() if not task.cancelled() or scope is not None else await apart(call)
