"""What has to be so after every case: nothing open, nobody running, no warning, whatever happened inside."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anyio
import trio.lowlevel

T = TypeVar("T")
BACKENDS = ("asyncio", "trio")
_DESCRIPTORS = Path("/proc/self/fd")


def open_descriptors() -> dict[str, str]:
    """Return every open descriptor and what it is, as the kernel tells."""
    found = {}
    for entry in _DESCRIPTORS.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found[entry.name] = str(entry.readlink())
    return found


def running_threads() -> set[threading.Thread]:
    # trio keeps a thread that has done its work for the next one, ten seconds.
    return {thread for thread in threading.enumerate() if not thread.name.startswith("Trio")}


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Run a case, and assert that it gave no warning and no exception that nobody saw."""
    unseen: list[str] = []
    unraisable, excepthook = sys.unraisablehook, threading.excepthook
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sys.unraisablehook = lambda it: unseen.append(f"{it.err_msg or ''} {it.object!r}: {it.exc_value!r}")
        threading.excepthook = lambda it: unseen.append(f"thread {it.thread!r}: {it.exc_value!r}")
        try:
            yield
            gc.collect()
        finally:
            sys.unraisablehook, threading.excepthook = unraisable, excepthook
    told = [f"{warning.category.__name__}: {warning.message}" for warning in caught]
    assert told == [], told
    assert unseen == [], unseen


@contextlib.contextmanager
def unharmed() -> Iterator[None]:
    """Run a case, and assert that it left no descriptor, no thread, no warning and no exception that nobody saw.

    A case that fails is reported as it is: what it left behind is then not looked at.
    """
    before_descriptors, before_threads = open_descriptors(), running_threads()
    with silent():
        yield
    for thread in running_threads() - before_threads:
        thread.join(10)  # one that has been told to end may need a moment
    assert running_threads() <= before_threads
    after = open_descriptors()
    assert {name: what for name, what in after.items() if before_descriptors.get(name) != what} == {}


def run(main: Callable[..., Awaitable[T]], *args: Any, backend: str) -> T:
    """Run ``main`` like anyio.run, and assert that it leaves no task behind and no exception that nobody saw."""
    return anyio.run(functools.partial(_watched, main, *args), backend=backend)


async def _watched(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    unseen: list[Any] = []
    if not _on_trio():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    before = tasks()
    result = await main(*args)
    gc.collect()  # a generator that is dropped half-read makes asyncio start a task
    left = tasks() - before
    assert left == set(), left
    assert unseen == [], unseen
    return result


def _on_trio() -> bool:
    return trio.lowlevel.in_trio_run()


def tasks() -> set[Any]:
    if not _on_trio():
        return set(asyncio.all_tasks())
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found, waiting = set(), [root]
    while waiting:
        task = waiting.pop()
        found.add(task)
        waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return found


def forget_deadlines() -> None:
    """Have trio let go of the deadlines that are over, of which it keeps up to a thousand with all they refer to."""
    if _on_trio():
        trio._core._run.GLOBAL_RUN_CONTEXT.runner.deadlines._prune()


def freeze() -> None:
    """Take what exists now out of the garbage collector's rounds, which `unharmed` makes once a case."""
    gc.collect()
    gc.freeze()


def resident_bytes() -> int:
    """Return how much memory of this process is in use, as the kernel tells."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
