"""The transport over aiohttp, as far as no table shows it that is run on every runtime."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import aiohttp
import anyio
import hygiene
import pytest
from attrs import evolve
from scripted_server import CHUNKED, END, Do, ScriptedServer, Step, answer, chunk, cut

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, AsyncStream, Conversation, RetryPolicy, Timeout, work
from aichatfree_sdk.transports import reading
from aichatfree_sdk.transports.aiohttp import AiohttpTransport

ENDLESS: list[Step] = [CHUNKED, chunk("one "), chunk("two "), Do.HOLD]
NEVER = RetryPolicy(max_retries=0)
PATIENT = RetryPolicy(base_delay=3600, max_delay=3600)


def run(main: Callable[..., Awaitable[None]], *args: Any) -> None:
    with hygiene.unharmed():
        hygiene.run(main, *args, backend="asyncio")


async def settle() -> None:
    """Let everybody go on as far as they can without a network: where they all wait, they may still have callbacks."""
    for _ in range(20):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def one_connection(url: str, **options: Any) -> Any:
    async with (
        AiohttpTransport(max_connections=1) as transport,
        AsyncClient(url, transport=transport, retry=NEVER, **options) as client,
    ):
        yield client, transport


async def read_two(stream: AsyncStream) -> None:
    assert [await anext(stream), await anext(stream)] == ["one ", "two "]


def test_closing_the_transport_wakes_a_reader_and_whoever_waits_for_a_slot() -> None:
    async def main(url: str) -> None:
        with anyio.fail_after(10):  # their own clocks would wake them, too, later
            await close(url)

    async def close(url: str) -> None:
        async with one_connection(url) as (client, transport), anyio.create_task_group() as tasks:

            async def read() -> None:
                with pytest.raises(sdk.ClientClosedError):
                    await anext(stream)

            async def ask() -> None:
                with pytest.raises(sdk.ClientClosedError):
                    await client.ask("q")

            stream = client.stream("q")
            await read_two(stream)
            tasks.start_soon(read)
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await transport.aclose()

    with ScriptedServer(ENDLESS) as server:
        run(main, server.url)
    assert server.connections == 1


def test_closing_the_transport_wakes_whoever_waits_for_the_head() -> None:
    async def main(server: ScriptedServer) -> None:
        async with one_connection(server.url) as (client, transport), anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(sdk.ClientClosedError):
                    await client.ask("q")

            tasks.start_soon(ask)
            await asyncio.to_thread(server.asked.wait, 10)
            await transport.aclose()

    with ScriptedServer([Do.HOLD]) as server:
        # asyncio's threads are there until the loop has ended.
        hygiene.run(main, server, backend="asyncio")


class Unresolving(aiohttp.abc.AbstractResolver):
    """Names that nobody answers for."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        self.asked.set()
        await asyncio.Event().wait()
        return []

    async def close(self) -> None:
        """Nothing is open."""


def test_closing_the_transport_wakes_whoever_connects() -> None:
    async def main() -> None:
        resolver = Unresolving()
        async with (
            aiohttp.TCPConnector(resolver=resolver) as connector,
            AiohttpTransport(connector) as transport,
            AsyncClient("http://chat.example", transport=transport, retry=NEVER, timeout=60) as client,
            anyio.create_task_group() as tasks,
        ):

            async def ask() -> None:
                with pytest.raises(sdk.ClientClosedError):
                    await client.ask("q")
                woken.set()

            woken = anyio.Event()
            tasks.start_soon(ask)
            await resolver.asked.wait()
            await transport.aclose()
            with anyio.fail_after(10):  # its own clock would wake it, too, later
                await woken.wait()

    run(main)


def test_a_dropped_stream_warns_hangs_up_and_frees_its_slot() -> None:
    async def main(url: str) -> None:
        async with one_connection(url) as (client, _):
            stream = client.stream("q")
            await read_two(stream)
            with pytest.warns(ResourceWarning, match="was dropped unclosed"):
                del stream
                gc.collect()
            assert (await client.ask("q")).text == "next"

    with ScriptedServer(ENDLESS, answer("next")) as server:  # which asserts that it was hung up on
        run(main, server.url)
    assert server.served == [1, 2]


async def stop_by_scope(work: Callable[[], Any], begun: asyncio.Event) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await begun.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


async def stop_by_task(work: Callable[[], Any], begun: asyncio.Event) -> None:
    task = asyncio.create_task(work())
    await begun.wait()
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def stop_by_timeout(work: Callable[[], Any], begun: asyncio.Event) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.03):
            await work()


@pytest.mark.parametrize("stop", [stop_by_scope, stop_by_task, stop_by_timeout])
@pytest.mark.parametrize("where", ["connect", "head", "text", "closing"])
def test_ten_that_are_cancelled_leave_no_slot_taken_and_no_connection(
    where: Literal["connect", "head", "text", "closing"],
    stop: Callable[[Callable[[], Any], asyncio.Event], Awaitable[None]],
) -> None:
    async def main(server: ScriptedServer) -> None:
        async with one_connection(server.url) as (client, _):
            for _ in range(10):
                begun = asyncio.Event()

                async def work(begun: asyncio.Event = begun) -> None:
                    if where in ("connect", "head"):
                        begun.set()
                    async with client.stream("q") as stream:
                        await read_two(stream)
                        begun.set()
                        # Else it is closed in a task that is being cancelled.
                        await (anext(stream) if where == "text" else asyncio.Event().wait())

                await stop(work, begun)
            if where == "connect":
                server.open()
            assert (await client.ask("q", timeout=10)).text == "next"

    scripts = [] if where == "connect" else [[Do.HOLD] if where == "head" else ENDLESS] * 10
    door = "full" if where == "connect" else "open"
    with hygiene.unharmed(), ScriptedServer(*scripts, then=answer("next"), door=door) as server:
        hygiene.run(main, server, backend="asyncio")


def test_another_event_loop_is_told_so() -> None:
    async def first(url: str) -> AiohttpTransport:
        async with aiohttp.TCPConnector() as connector:
            transport = AiohttpTransport(connector)
            assert (await AsyncClient(url, transport=transport).ask("q")).text == "one"
        return transport

    async def second(url: str, transport: AiohttpTransport) -> None:
        with pytest.raises(sdk.ClientBoundError):
            await AsyncClient(url, transport=transport).ask("q")
        with pytest.raises(sdk.ClientBoundError):
            await transport.aclose()

    with ScriptedServer(answer("one")) as server:
        transport = asyncio.run(first(server.url))
        asyncio.run(second(server.url, transport))
    assert server.connections == 1


def test_trio_is_told_so_before_anything_is_sent() -> None:
    async def main(url: str) -> None:
        async with one_connection(url) as (client, _):
            with pytest.raises(sdk.InvalidArgumentError, match="runs on asyncio only"):
                await client.ask("q")

    with ScriptedServer() as server:
        hygiene.run(main, server.url, backend="trio")
    assert server.connections == 0


DELTAS = ["Once ", "upon ", "🙂", " a time."]


@pytest.mark.parametrize("cut_up", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("deltas", [DELTAS, ["Internal ", "server ", "error"]], ids=["text", "no failure"])
def test_a_chunk_is_a_delta(deltas: list[str], cut_up: bool) -> None:
    async def main(url: str) -> None:
        async with one_connection(url) as (client, _), client.stream("q") as stream:
            received = [delta async for delta in stream]
        assert "".join(received) == "".join(deltas)
        assert cut_up or received == deltas

    script = answer(*deltas)
    with ScriptedServer(cut(script) if cut_up else script) as server:
        run(main, server.url)


@pytest.mark.parametrize("cut_up", [False, True], ids=["whole", "byte by byte"])
def test_a_failure_is_one_by_its_chunk(cut_up: bool) -> None:
    async def main(url: str) -> None:
        async with one_connection(url) as (client, _):
            with pytest.raises(sdk.StreamInterruptedError) as caught:
                await client.ask("q")
        assert caught.value.partial_text == "one "

    script: list[Step] = [CHUNKED, chunk("one "), chunk("Internal server error"), END]
    with ScriptedServer(cut(script) if cut_up else script) as server:
        run(main, server.url)


def test_a_failure_is_one_wherever_the_reads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = CHUNKED + chunk("one ") + chunk("🙂") + chunk("Internal server error") + END

    async def main(url: str) -> None:
        for size in sizes:
            monkeypatch.setattr(reading, "_AT_ONCE", size)
            async with one_connection(url) as (client, _):
                with pytest.raises(sdk.StreamInterruptedError, match="the model failed") as caught:
                    await client.ask("q")
            assert caught.value.partial_text == "one 🙂"

    sizes = range(1, len(failed) + 1)  # the head may end anywhere in a read, and its body begin there
    with ScriptedServer(*[[failed]] * len(sizes)) as server:
        run(main, server.url)


class Pipe(asyncio.Transport):
    """A connection without a network, on which a request brings what the server sends until the client has enough."""

    def __init__(self, protocol: asyncio.Protocol, sent: list[bytes]) -> None:
        super().__init__()
        self.protocol, self.sent = protocol, sent
        self.paused = False

    def write(self, data: Any) -> None:
        asyncio.get_running_loop().call_soon(self.flow)

    def flow(self) -> None:
        while self.sent and not self.paused:
            self.protocol.data_received(self.sent.pop(0))

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self.flow)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.protocol.connection_lost(None)

    abort = close


class Pipes(aiohttp.BaseConnector):
    def __init__(self, sent: list[bytes]) -> None:
        super().__init__()
        self.sent = sent

    async def _create_connection(self, *_: Any) -> Any:
        protocol = self._factory()
        protocol.connection_made(Pipe(protocol, self.sent))
        self.receive = protocol.data_received
        return protocol


def test_a_flood_of_small_chunks_waits_for_its_reader() -> None:
    total = 100_000

    async def main() -> None:
        left = [CHUNKED, *[chunk("a") * 100] * (total // 100), END]
        async with Pipes(left) as pipes, AiohttpTransport(pipes) as transport:
            async with AsyncClient("http://chat.example", transport=transport).stream("q") as stream:
                assert await anext(stream) == "a"
                held = total - 100 * len(left)
                assert [delta async for delta in stream] == ["a"] * (total - 1)
        assert (held < 10_000, left) == (True, [])

    run(main)


def test_a_flood_of_bytes_waits_for_its_reader() -> None:
    deltas = ["a" * 10_000] * 1000

    async def main() -> None:
        left = [CHUNKED, *map(chunk, deltas), END]
        async with Pipes(left) as pipes, AiohttpTransport(pipes) as transport:
            async with AsyncClient("http://chat.example", transport=transport).stream("q") as stream:
                assert await anext(stream) == deltas[0]
                held = len(deltas) - len(left)
                assert [delta async for delta in stream] == deltas[1:]
        assert (held < 100, left) == (True, [])

    run(main)


def test_a_piece_of_a_chunk_is_handed_on_as_it_comes() -> None:
    async def main() -> None:
        async with Pipes([CHUNKED]) as pipes, AiohttpTransport(pipes) as transport:
            async with AsyncClient("http://chat.example", transport=transport).stream("q") as stream:
                for sent, delta in (b"a\r\nhello", "hello"), (b"world\r\n" + END, "world"):
                    reading = asyncio.ensure_future(anext(stream))
                    await settle()
                    pipes.receive(sent)
                    with anyio.fail_after(8):  # its own clock would end it, too, later
                        assert await reading == delta
                assert [delta async for delta in stream] == []

    run(main)


class Refusing(aiohttp.BaseConnector):
    async def _create_connection(self, *_: Any) -> Any:
        raise aiohttp.ClientOSError("refused")


READERS_WAIT: dict[str, Callable[[], aiohttp.BaseConnector]] = {
    "for an address": lambda: aiohttp.TCPConnector(resolver=Unresolving()),
    "for the head": lambda: Pipes([]),
    "for the body": lambda: Pipes([CHUNKED]),
    "to try again": Refusing,
    "for a slot": lambda: Pipes([CHUNKED, chunk("one ")]),
    "in the answer": lambda: Pipes([CHUNKED, chunk("one ")]),
}


@pytest.mark.parametrize("waits", READERS_WAIT)
def test_closing_a_stream_wakes_its_reader(waits: str) -> None:
    async def main() -> None:
        chat = Conversation()
        async with (
            READERS_WAIT[waits]() as connector,
            AiohttpTransport(connector, max_connections=1) as transport,
            AsyncClient("http://chat.example", transport=transport, retry=PATIENT) as client,
            client.stream("q") if waits == "for a slot" else contextlib.nullcontext(),
        ):

            async def read() -> None:
                with pytest.raises(sdk.StreamInterruptedError, match="closed before"):
                    await stream.drain()

            stream = client.stream("q", conversation=chat)
            with anyio.fail_after(8):  # its own clock would wake it, too, later
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    await settle()
                    await stream.aclose()
            assert (chat.messages, chat.busy) == ((), False)
            timers: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
            assert [timer for timer in timers if not timer.cancelled()] == [] or waits == "for a slot"

    run(main)


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Awaitable[None]]:
    """Lets so many seconds pass at once."""
    real, ahead = time.monotonic, 0.0

    def monotonic() -> float:
        return real() + ahead

    async def jump(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        await settle()

    monkeypatch.setattr(time, "monotonic", monotonic)
    monkeypatch.setattr(work, "monotonic", monotonic)
    return jump


PATIENCE = Timeout(connect=10, first_text=100, idle=50)
CLOCKS: dict[str, tuple[str, Timeout, float, type[Exception]]] = {
    "slot": ("for a slot", PATIENCE, 10, sdk.ConnectTimeoutError),
    "connect": ("for an address", PATIENCE, 10, sdk.ConnectTimeoutError),
    "head": ("for the head", PATIENCE, 100, sdk.FirstTextTimeoutError),
    "first text": ("for the body", PATIENCE, 100, sdk.FirstTextTimeoutError),
    "idle": ("in the answer", PATIENCE, 50, sdk.IdleTimeoutError),
    "total": ("in the answer", evolve(PATIENCE, total=30), 30, sdk.TotalTimeoutError),
    "total, of the head": ("for the head", evolve(PATIENCE, total=30), 30, sdk.TotalTimeoutError),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_wait_lasts_as_long_as_its_clock_says(clock: str, jump: Callable[[float], Awaitable[None]]) -> None:
    waits, timeout, seconds, error = CLOCKS[clock]

    async def main() -> None:
        async with (
            READERS_WAIT[waits]() as connector,
            AiohttpTransport(connector, max_connections=1) as transport,
            AsyncClient("http://chat.example", transport=transport, retry=NEVER, timeout=timeout) as client,
            client.stream("q") if waits == "for a slot" else contextlib.nullcontext(),
        ):
            stream = client.stream("q")
            reading = asyncio.create_task(stream.drain())
            await settle()
            await jump(seconds * 0.9)
            assert not reading.done()
            await jump(seconds * 0.2)
            assert reading.done()
            with pytest.raises(error):
                await reading

    run(main)


def test_the_idle_clock_stands_still_while_the_consumer_works(jump: Callable[[float], Awaitable[None]]) -> None:
    async def main() -> None:
        async with (
            Pipes([CHUNKED, chunk("one ")]) as connector,
            AiohttpTransport(connector) as transport,
            AsyncClient("http://chat.example", transport=transport, timeout=PATIENCE) as client,
            client.stream("q") as stream,
        ):
            assert await anext(stream) == "one "
            reading = asyncio.ensure_future(anext(stream))
            await settle()
            connector.receive(chunk("two "))
            assert await reading == "two "
            await jump(1000)
            connector.receive(chunk("three") + END)
            assert [delta async for delta in stream] == ["three"]

    run(main)


def test_a_connection_is_used_again_and_a_connector_left_open() -> None:
    async def main(url: str) -> None:
        async with aiohttp.TCPConnector() as connector:
            for _ in range(2):
                async with AiohttpTransport(connector) as transport:
                    assert (await AsyncClient(url, transport=transport).ask("q")).text == "one"
            assert not connector.closed

    with ScriptedServer(then=answer("one")) as server:
        run(main, server.url)
    assert server.served == [1, 1]


def test_a_connector_serves_other_sessions_as_before() -> None:
    async def main(url: str) -> None:
        async with aiohttp.TCPConnector(limit=1) as connector, AiohttpTransport(connector) as transport:
            async with (
                AsyncClient(url, transport=transport) as client,
                aiohttp.ClientSession(connector=connector, connector_owner=False) as session,
            ):
                for _ in range(2):
                    assert (await client.ask("q")).text == "onetwo"
                    async with session.post(url) as response:
                        pieces = [piece async for piece, _ in response.content.iter_chunks()]
                    assert b"".join(pieces) == b"onetwo"

    with ScriptedServer(*[answer("one", "two")] * 4) as server:
        run(main, server.url)
    assert server.connections == 1


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_the_environment_names_a_proxy_but_not_for_loopback(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(server: ScriptedServer) -> None:
        async with one_connection("http://chat.invalid") as (client, _):
            assert (await client.ask("q")).text == "via proxy"
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody is
        async with one_connection(server.url) as (client, _):
            assert (await client.ask("q")).text == "direct"
        monkeypatch.setenv("NO_PROXY", "chat.invalid")
        async with one_connection("http://chat.invalid") as (client, _):
            with pytest.raises(sdk.ConnectError) as caught:
                await client.ask("q")
            assert "at the proxy" not in str(caught.value)

    with ScriptedServer(answer("via proxy"), answer("direct")) as server:
        monkeypatch.setenv(name, server.url)
        # A name is looked up in one of asyncio's threads, which are there until the loop has ended.
        hygiene.run(main, server, backend="asyncio")
    assert server.heads[0].startswith("POST http://chat.invalid/api/generate ")
    assert server.heads[1].startswith("POST /api/generate ")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "127.0.0.1:3128", ""])
def test_a_proxy_that_aiohttp_does_not_know_is_refused(proxy: str) -> None:
    with pytest.raises(sdk.InvalidArgumentError, match="aiohttp-socks"):
        AiohttpTransport(proxy=proxy)


def test_a_connector_that_is_none_is_refused() -> None:
    with pytest.raises(sdk.InvalidArgumentError, match="must be an aiohttp connector, not object"):
        AiohttpTransport(object())  # type: ignore[arg-type]
