"""One measurement of one contender, in a process of its own: ``python drive.py CONTENDER RUNTIME WORKLOAD PORT [N]``.

It prints one number. A contender is a module of `contenders`. For the runtime "sync" it has ``client(url, streams)``, a
context manager of something that can have so many answers on their way at once, and ``answer(client, texts)``, which
asks the question and appends each delta to ``texts`` as it comes; for "asyncio" and "trio" ``async_client`` and
``async_answer``, the same with ``async``. ``answer`` is what a user would write: nothing stands between its loop and
the library.
"""

from __future__ import annotations

import time

BEGAN = time.process_time()  # before anything that a contender imports, too

import importlib  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

Texts = list[str]
# Each step of a plan is a batch of lists to fill: so many answers at once. The last thing it yields is its number.
Plan = Iterator["list[Texts] | float"]

WARM_UP = 3


def check(texts: Texts, words: int) -> None:
    """Fail where an answer is not the one that was sent: a contender that loses text is not fast."""
    from servers import WORD

    if "".join(texts) != WORD * words:
        raise SystemExit(f"{sys.argv[1:]}: got {len(''.join(texts))} characters, not {len(WORD) * words}")


def startup() -> Plan:
    """CPU seconds from before the import to the end of the first answer."""
    texts: Texts = []
    yield [texts]
    seconds = time.process_time() - BEGAN
    check(texts, 1)
    yield seconds


def deltas(number: int) -> Plan:
    """CPU seconds per delta of an answer that comes in a burst."""
    yield [[]]
    answers: list[Texts] = [[], []]
    began = time.process_time()
    for texts in answers:
        yield [texts]
    seconds = time.process_time() - began
    for texts in answers:
        check(texts, number)
    yield seconds / len(answers) / number


def requests(number: int) -> Plan:
    """CPU seconds per request, one after the other on a connection that is kept."""
    for _ in range(WARM_UP):
        yield [[]]
    began = time.process_time()
    for _ in range(number):
        yield [[]]
    yield (time.process_time() - began) / number


class Clocked(Texts):
    """Texts that know when the first of them came."""

    first: float | None = None

    def append(self, text: str) -> None:
        """Take a delta."""
        self.first = self.first or time.perf_counter()
        super().append(text)


def first(number: int) -> Plan:
    """Seconds from asking to the first delta, on a connection that is kept: the median of so many."""
    waits = []
    for _ in range(WARM_UP + number):
        texts = Clocked()
        began = time.perf_counter()
        yield [texts]
        waits.append((texts.first or time.perf_counter()) - began)
    yield sorted(waits[WARM_UP:])[number // 2]


STREAM_DELTAS = 50


def streams(number: int) -> Plan:
    """CPU seconds per delta of so many answers at once, from the first connection's opening to the last one's end."""
    batch: list[Texts] = [[] for _ in range(number)]
    began = time.process_time()
    yield batch
    seconds = time.process_time() - began
    for texts in batch:
        check(texts, STREAM_DELTAS)
    yield seconds / number / STREAM_DELTAS


def resident() -> int:
    """Return the memory that this process has, in bytes."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


def _per_stream(number: int, used: Callable[[], int]) -> Plan:
    """What grows with each of so many streams, when each has its first delta and waits for its second and last."""
    yield [[]]
    batch: list[Texts] = []
    full: list[int] = []

    class Awaited(Texts):
        def append(self, text: str) -> None:
            if self and not full and all(batch):  # the first second one
                full.append(used())
            super().append(text)

    batch += [Awaited() for _ in range(number)]
    before = used()
    yield batch
    yield (full[0] - before) / number


def memory(number: int) -> Plan:
    """Bytes per open stream that Python has allocated."""
    import tracemalloc

    tracemalloc.start(1)
    yield from _per_stream(number, lambda: tracemalloc.get_traced_memory()[0])


def resident_memory(number: int) -> Plan:
    """Bytes per open stream that the process has taken from the operating system; what is free again is among them."""
    yield from _per_stream(number, resident)


class Dropped(Texts):
    """Texts that keep their number only."""

    size = 0

    def append(self, text: str) -> None:
        """Take a delta."""
        self.size += len(text)


def large(number: int) -> Plan:
    """Bytes of memory, at the peak, that an answer of so many deltas of 10,000 bytes takes whose deltas are dropped."""
    import resource

    yield [[]]
    before = resident()
    texts = Dropped()
    yield [texts]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if texts.size != number * 10_000:
        raise SystemExit(f"{sys.argv[1:]}: got {texts.size} characters")
    yield float(peak - before)


def path_of(workload: str, number: int) -> str:
    """Return the beginning of the path that has the server send what a workload needs: see `servers`."""
    return {
        "startup": "/1/1/0",
        "deltas": f"/{number}/1/0",
        "requests": "/1/1/0",
        "first": "/10/1/0",
        "streams": f"/{STREAM_DELTAS}/1/{number // 5}",  # 5,000 deltas a second in all, however many the streams
        "memory": "/2/1/4000",
        "resident_memory": "/2/1/4000",
        "large": f"/{number}/2000/0",
    }[workload]


def run_blocking(contender: Any, url: str, plan: Plan) -> None:
    """Follow a plan in this thread."""
    with contender.client(url, 1) as client:
        for step in plan:
            if isinstance(step, float):
                print(step)
                return
            [texts] = step
            contender.answer(client, texts)


async def run_async(contender: Any, url: str, plan: Plan, number: int) -> None:
    """Follow a plan in this event loop."""
    import anyio

    async with anyio.create_task_group():
        pass  # it imports what it needs, which would count as memory of the first streams
    async with contender.async_client(url, number) as client:
        for step in plan:
            if isinstance(step, float):
                print(step)
                return
            if len(step) == 1:
                await contender.async_answer(client, step[0])
                continue
            async with anyio.create_task_group() as tasks:
                for texts in step:
                    tasks.start_soon(contender.async_answer, client, texts)


def main(name: str, runtime: str, workload: str, port: str, number: int = 1) -> None:
    """Measure once, and print the number."""
    contender = importlib.import_module(f"contenders.{name}")
    url = f"http://127.0.0.1:{port}{path_of(workload, number)}"
    measure = globals()[workload]
    plan = measure() if workload == "startup" else measure(number)
    if runtime == "sync":
        run_blocking(contender, url, plan)
        return
    at_once = number if workload in ("streams", "memory", "resident_memory") else 1
    if runtime == "trio":
        import trio

        trio.run(run_async, contender, url, plan, at_once)
    else:
        import asyncio

        asyncio.run(run_async(contender, url, plan, at_once))


if __name__ == "__main__":
    main(*sys.argv[1:5], *map(int, sys.argv[5:]))  # type: ignore[arg-type]
