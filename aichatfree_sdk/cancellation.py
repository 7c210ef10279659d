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


async def apart(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await ``call()``, on asyncio in a task of its own, and let it come to its end before a cancellation goes on.

    Where every task was cancelled, as at a loop's end, it is begun again.
    """
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return await call()
    task = asyncio.create_task(call())
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not task.done() or task.cancelled():
                task = asyncio.create_task(call()) if task.done() else task
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # the cancellation goes first; without this look, asyncio would complain
        raise
    return task.result() if not task.cancelled() else await apart(call)
