"""Running a responder: its deltas one at a time, and its iterator closed however the answer ends.

Which loop or thread it runs on:

- an async iterable is iterated on the server's event loop;
- a list or a tuple is finished already, so it is iterated there too;
- any other iterable may block for as long as a model thinks (a lock, a blocking HTTP client, `time.sleep`), so it
  gets a daemon thread of its own and is asked for one delta at a time. A thread per answer and not a pool: 40 stuck
  responders would use up a pool of 40, and a pool's threads keep the interpreter from exiting.

The same goes for the call itself: unless it is an async generator function it may block, and runs in the thread.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

import anyio

from aichatfree_sdk.server.text import split_text

if TYPE_CHECKING:
    from aichatfree_sdk.server.responder import Deltas, Responder
    from aichatfree_sdk.server.wire import ChatMessage

T = TypeVar("T")

logger = logging.getLogger("aichatfree_sdk.server")

# How long, in seconds, a responder may take to clean up after its reader is gone. A thread stuck in user code
# cannot be stopped, only left behind: it closes its iterator whenever that comes back.
CLOSE_GRACE = 0.5


async def deltas_of(responder: Responder, messages: tuple[ChatMessage, ...]) -> AsyncGenerator[str, None]:
    """Yield what the responder says; closing this closes the responder's iterator too."""
    if inspect.isasyncgenfunction(responder):
        async with aclosing(_async_deltas(responder(messages))) as deltas:
            async for delta in deltas:
                yield delta
        return
    worker = _Worker()
    try:
        answer = await worker.run(lambda: responder(messages))
        async with aclosing(_pick(answer, worker)) as deltas:
            async for delta in deltas:
                yield delta
    finally:
        worker.stop()


def _pick(answer: Deltas, worker: _Worker) -> AsyncGenerator[str, None]:
    if isinstance(answer, AsyncIterable):
        return _async_deltas(answer)
    if isinstance(answer, str):  # iterated, it would fall into single characters
        return _ready_deltas(split_text(answer))
    if isinstance(answer, list | tuple):
        return _ready_deltas(answer)
    return _blocking_deltas(answer, worker)


async def _async_deltas(source: AsyncIterable[str]) -> AsyncGenerator[str, None]:
    iterator = aiter(source)
    try:
        async for delta in iterator:
            yield delta
    finally:
        if isinstance(iterator, _AsyncClosable):
            with _last_words():
                await iterator.aclose()


async def _ready_deltas(source: Iterable[str]) -> AsyncGenerator[str, None]:
    for delta in source:
        yield delta


async def _blocking_deltas(source: Iterable[str], worker: _Worker) -> AsyncGenerator[str, None]:
    end = object()
    iterator = await worker.run(lambda: iter(source))
    try:
        while (delta := await worker.run(lambda: next(iterator, end))) is not end:
            yield cast("str", delta)
    finally:
        if isinstance(iterator, _Closable):
            with _last_words():
                await worker.run(iterator.close)


@contextmanager
def _last_words() -> Generator[None, None, None]:
    # The answer is over: a responder that fails while it closes is worth a line in the log and no more.
    with anyio.move_on_after(CLOSE_GRACE, shield=True):
        try:
            yield
        except Exception:
            logger.exception("the responder failed while closing")


@runtime_checkable
class _AsyncClosable(Protocol):
    async def aclose(self) -> None: ...


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> None: ...


class _Worker:
    """A daemon thread that does one job after another, each to its end even if nobody waits for it any more."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._last: Future[Any] | None = None
        self._thread = threading.Thread(target=self._work, name="aichatfree-responder", daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        future: Future[T] = Future()
        # Running from now on, so that a cancelled caller does not take the job (closing the iterator!) out with it.
        future.set_running_or_notify_cancel()
        self._last = future
        self._jobs.put((future, job))
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        self._jobs.put(None)
        if self._last is None or self._last.done():
            self._thread.join()  # idle, so this takes microseconds; a thread still busy ends by itself

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            future, job = item
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller, whatever it is
                future.set_exception(error)
            del item, future, job  # an idle thread holds on to nothing
