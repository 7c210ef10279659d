"""How streams and clients begin and end, whoever ends them: no turn lost, no connection left, no warning."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import threading
import warnings
import weakref

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import httpx2
import pytest
from runtimes import Runtime, every_runtime
from scripted_server import CHUNKED, Do, Pause, ScriptedServer, answer, chunk, whole

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, Client, Conversation, Message, RetryPolicy
from aichatfree_sdk.core.failure import FailureKind
from aichatfree_sdk.testing import AsyncScriptedTransport, LocalServer, ScriptedResponse, ScriptedTransport
from aichatfree_sdk.transports.base import TransportFailure

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
ENDLESS = [CHUNKED, chunk("one "), chunk("two "), Do.HOLD]


def test_the_one_liner() -> None:
    with LocalServer() as server:
        assert "".join(Client(server.url).stream("Hello world")) == "You said: Hello world"
        # The client of that line is gone by now, its idle connection closed without a ResourceWarning (an error here).
        gc.collect()


def test_a_stream_keeps_its_client_alive_and_a_dropped_client_closes_its_pool() -> None:
    client = Client("http://127.0.0.1:9")
    pool = client._transport._client
    stream = client.stream("q")
    reference = weakref.ref(client)
    del client
    gc.collect()
    assert reference() is not None
    assert not pool.is_closed
    del stream
    gc.collect()
    assert reference() is None
    assert pool.is_closed


def test_nothing_is_sent_before_the_stream_is_entered_or_read() -> None:
    with ScriptedServer(answer("a")) as server, Client(server.url) as client:
        stream = client.stream("q")
        assert server.connections == 0
        with stream:
            assert len(server.requests) == 1
            assert list(stream) == ["a"]


def test_a_stream_that_was_never_begun_claims_nothing() -> None:
    chat, client = Conversation(), Client("http://127.0.0.1:9")
    stream = client.stream("q", conversation=chat)
    assert not chat.busy
    stream.close()
    assert list(stream) == []
    with pytest.raises(sdk.AIChatFreeError, match="closed before it began"):
        _ = stream.reply


def test_entering_raises_what_the_server_refuses() -> None:
    with ScriptedServer(whole(401)) as server, Client(server.url) as client:
        stream = client.stream("q")
        with pytest.raises(sdk.AuthenticationError):
            stream.__enter__()
        assert list(stream) == []
        with pytest.raises(sdk.AuthenticationError):
            _ = stream.reply


@BACKENDS
def test_entering_raises_what_the_server_refuses_async(backend: str) -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url) as client:
            stream = client.stream("q")
            with pytest.raises(sdk.AuthenticationError):
                await stream.__aenter__()
            assert [delta async for delta in stream] == []
            await stream.aclose()

    with ScriptedServer(whole(401)) as server:
        anyio.run(main, server.url, backend=backend)


@pytest.mark.parametrize("how", ["break", "close", "exception", "drain"])
def test_leaving_a_stream_early_drops_the_connection_and_the_turn(how: str) -> None:
    chat = Conversation()
    # The server asserts that the client has hung up on it.
    with ScriptedServer(ENDLESS, answer("next")) as server, Client(server.url) as client:
        stream = client.stream("q", conversation=chat)
        if how == "close":
            assert next(stream) == "one "
            stream.close()
        elif how == "exception":
            with pytest.raises(ZeroDivisionError), stream:
                next(stream)
                _ = 1 / 0
        elif how == "drain":
            with pytest.raises(sdk.IdleTimeoutError):
                client.stream("q", conversation=chat, timeout=sdk.Timeout(idle=0.1)).drain()
            stream.close()
        else:
            with stream:
                for _ in stream:
                    break
        stream.close()
        assert list(stream) == []
        assert (chat.messages, chat.busy) == ((), False)
        assert client.ask("q", conversation=chat).text == "next"


@BACKENDS
@pytest.mark.parametrize("how", ["break", "close", "exception", "cancel", "timeout"])
def test_leaving_an_async_stream_early_drops_the_connection_and_the_turn(how: str, backend: str) -> None:
    async def main(url: str) -> None:
        chat = Conversation()
        async with AsyncClient(url, max_connections=1) as client:
            stream = client.stream("q", conversation=chat)
            if how == "close":
                assert await anext(stream) == "one "
                await stream.aclose()
            elif how == "exception":
                with pytest.raises(ZeroDivisionError):
                    async with stream:
                        await anext(stream)
                        _ = 1 / 0
            elif how in ("cancel", "timeout"):
                with anyio.move_on_after(0.1 if how == "timeout" else None) as scope:
                    async with stream:
                        async for delta in stream:
                            if how == "cancel" and delta == "two ":
                                scope.cancel()
                assert scope.cancelled_caught
            else:
                async with stream:
                    async for _ in stream:
                        break
            await stream.aclose()
            assert (chat.messages, chat.busy) == ((), False)
            del stream
            gc.collect()  # while the loop runs, as that is when it minds a generator that was left half-read
            assert (await client.ask("q", conversation=chat)).text == "next"

    with ScriptedServer(ENDLESS, answer("next")) as server:
        anyio.run(main, server.url, backend=backend)
    gc.collect()


def test_closing_from_another_thread_wakes_the_reader_with_an_error() -> None:
    with ScriptedServer(ENDLESS) as server, Client(server.url) as client:
        stream = client.stream("q")
        waiting = threading.Event()
        errors: list[BaseException] = []

        def read() -> None:
            try:
                for delta in stream:
                    if delta == "two ":
                        waiting.set()
            except sdk.AIChatFreeError as error:
                errors.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        assert waiting.wait(5)
        stream.close()
        thread.join(5)
        assert not thread.is_alive()
        assert [type(error) for error in errors] in ([sdk.StreamInterruptedError], [])
        assert stream.text == "one two "


def test_a_body_that_ends_because_it_was_closed_is_no_answer() -> None:
    """An end by closing looks the same from inside, whoever closed."""
    chat = Conversation()
    with ScriptedServer([b"HTTP/1.1 200 OK\r\n\r\nso far", Do.HOLD]) as server, Client(server.url) as client:
        stream = client.stream("q", conversation=chat)
        assert next(stream) == "so far"
        closer = threading.Timer(0.1, stream.close)
        closer.start()
        with pytest.raises(sdk.StreamInterruptedError, match="closed before"):
            next(stream)
        closer.join()
    assert (chat.messages, chat.busy) == ((), False)


class SetsAnEvent(logging.Handler):
    """Sets an event when the SDK logs, which it does before it waits to try again."""

    def __init__(self) -> None:
        super().__init__()
        self.event = anyio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


@BACKENDS
@pytest.mark.parametrize("where", ["reading", "opening", "waiting to retry"])
def test_closing_from_another_task_wakes_the_reader_with_an_error(
    where: str, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aichatfree_sdk")

    async def main(url: str) -> None:
        chat, two, handler = Conversation(), anyio.Event(), SetsAnEvent()
        logging.getLogger("aichatfree_sdk").addHandler(handler)
        policy = RetryPolicy(base_delay=60, max_delay=60)
        async with AsyncClient(url, max_connections=1, retry=policy) as client:
            stream = client.stream("q", conversation=chat)

            async def read() -> None:
                with pytest.raises(sdk.StreamInterruptedError, match="closed before"):
                    async for delta in stream:
                        if delta == "two ":
                            two.set()

            # A reader that is not woken would wait for the idle clock, a minute.
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    group.start_soon(read)
                    if where == "opening":
                        await anyio.to_thread.run_sync(server.asked.wait)
                    else:
                        await (two if where == "reading" else handler.event).wait()
                    await anyio.wait_all_tasks_blocked()
                    await stream.aclose()
            assert (chat.messages, chat.busy) == ((), False)
            assert (await client.ask("q")).text == "next"
        logging.getLogger("aichatfree_sdk").removeHandler(handler)

    first = {"reading": ENDLESS, "opening": [Do.HOLD], "waiting to retry": whole(503)}[where]
    with ScriptedServer(first, answer("next")) as server:
        anyio.run(main, server.url, backend=backend)
    gc.collect()


@BACKENDS
def test_closing_from_another_task_wakes_whoever_waits_for_a_connection(backend: str) -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url, max_connections=1) as client, client.stream("q") as first:

            async def read() -> None:
                with pytest.raises(sdk.StreamInterruptedError, match="closed before"):
                    await anext(second)

            second = client.stream("q")
            with anyio.fail_after(5):  # its own clock would wake it, too, later
                async with anyio.create_task_group() as group:
                    group.start_soon(read)
                    await anyio.wait_all_tasks_blocked()
                    await second.aclose()
            await first.aclose()
            assert (await client.ask("q")).text == "next"

    with ScriptedServer(ENDLESS, answer("next")) as server:
        anyio.run(main, server.url, backend=backend)


@BACKENDS
def test_closing_twice_at_once_and_under_a_reader(backend: str) -> None:
    async def main(url: str) -> None:
        chat = Conversation()
        async with AsyncClient(url, max_connections=1) as client:
            for closers, readers in ((2, 0), (2, 1), (1, 1)):
                stream = client.stream("q", conversation=chat)
                assert await anext(stream) == "one "
                async with anyio.create_task_group() as group:
                    for _ in range(closers):
                        group.start_soon(stream.aclose)
                    for _ in range(readers):
                        with contextlib.suppress(sdk.StreamInterruptedError):
                            assert [delta async for delta in stream] == []
                assert not chat.busy
            assert (await client.ask("q")).text == "next"

    with ScriptedServer(ENDLESS, ENDLESS, ENDLESS, answer("next")) as server:
        anyio.run(main, server.url, backend=backend)


@BACKENDS
def test_a_transport_that_waits_while_it_closes_is_shielded(backend: str) -> None:
    class Waits(AsyncScriptedTransport):
        closed = False

        async def open(self, request: object, limits: object) -> object:  # type: ignore[override]
            opened = await super().open(request, limits)  # type: ignore[arg-type]

            async def aclose() -> None:
                await anyio.lowlevel.checkpoint()
                self.closed = True

            opened.aclose = aclose  # type: ignore[method-assign]
            return opened

    async def main() -> None:
        chat, transport = Conversation(), Waits(["a", "b"])
        async with AsyncClient(transport=transport) as client:
            with anyio.CancelScope() as scope:
                async with client.stream("q", conversation=chat) as stream:
                    async for _ in stream:
                        scope.cancel()
                        await anyio.lowlevel.checkpoint()
            assert scope.cancelled_caught
            assert (transport.closed, chat.busy, chat.messages) == (True, False, ())

    anyio.run(main, backend=backend)


def test_a_task_that_is_cancelled_while_it_leaves_frees_the_conversation() -> None:
    """asyncio's own cancellation gets through any shield of anyio's."""

    async def main(url: str) -> None:
        chat, left = Conversation(), asyncio.Event()

        async def leave(client: AsyncClient) -> None:
            async with client.stream("q", conversation=chat) as stream:
                await anext(stream)
                left.set()

        async with AsyncClient(url) as client:
            for extra in range(20):
                left.clear()
                task = asyncio.create_task(leave(client))
                await left.wait()
                for _ in range(extra):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert not chat.busy

    with ScriptedServer(*[ENDLESS] * 20) as server:
        asyncio.run(main(server.url))
    gc.collect()


def test_closing_from_another_thread_before_the_head_has_come() -> None:
    chat = Conversation()
    with ScriptedServer([Pause(0.4), CHUNKED, Do.HOLD]) as server, Client(server.url) as client:
        stream = client.stream("q", conversation=chat)
        closer = threading.Thread(target=lambda: (server.asked.wait(), stream.close()))
        closer.start()
        with pytest.raises(sdk.StreamInterruptedError, match="closed before"):
            next(stream)
        closer.join()
    assert not chat.busy


def test_one_stream_has_one_reader() -> None:
    with ScriptedServer(ENDLESS) as server, Client(server.url) as client, client.stream("q") as stream:
        assert next(stream) == "one "
        stream._reading = True
        with pytest.raises(RuntimeError, match="one reader"):
            next(stream)
        stream._reading = False


def test_a_dropped_stream_warns_and_frees_its_conversation_and_connection() -> None:
    chat = Conversation()
    with ScriptedServer(ENDLESS) as server, Client(server.url) as client:
        stream = client.stream("q", conversation=chat)
        next(stream)
        with pytest.warns(ResourceWarning, match="dropped unclosed"):
            del stream
            gc.collect()
        assert not chat.busy


@BACKENDS
def test_a_dropped_async_stream_warns_and_frees_its_conversation(backend: str) -> None:
    async def main(url: str) -> None:
        chat = Conversation(on_interrupt="keep")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            async with AsyncClient(url) as client:
                stream = client.stream("q", conversation=chat)
                await anext(stream)
                del stream
                gc.collect()
                await anyio.wait_all_tasks_blocked()
        assert any("AsyncStream" in str(w.message) and w.category is ResourceWarning for w in caught)
        assert [message.content for message in chat.messages] == ["q", "one "]

    with ScriptedServer(ENDLESS) as server:
        anyio.run(main, server.url, backend=backend)
    gc.collect()


def test_ctrl_c_in_the_middle_of_an_answer_leaves_everything_whole() -> None:
    chat = Conversation()
    with ScriptedServer(ENDLESS, answer("next")) as server, Client(server.url) as client:
        timer = threading.Timer(0.2, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
        with pytest.raises(KeyboardInterrupt), client.stream("q", conversation=chat) as stream:
            assert next(stream) == "one "
            timer.start()
            for _ in stream:
                pass
        timer.join()
        assert (chat.messages, chat.busy) == ((), False)
        assert client.ask("q").text == "next"


def test_ctrl_c_needs_no_with_block_to_leave_everything_whole() -> None:
    chat = Conversation()
    with ScriptedServer(ENDLESS, answer("next")) as server, Client(server.url) as client:
        stream = client.stream("q", conversation=chat)
        timer = threading.Timer(0.2, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
        assert next(stream) == "one "
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            for _ in stream:
                pass
        timer.join()
        assert (chat.messages, chat.busy, list(stream)) == ((), False, [])


@BACKENDS
def test_cancellation_needs_no_with_block_to_leave_everything_whole(backend: str) -> None:
    async def main(url: str) -> None:
        chat = Conversation()
        async with AsyncClient(url, max_connections=1) as client:
            stream = client.stream("q", conversation=chat)
            with anyio.CancelScope() as scope:
                async for delta in stream:
                    if delta == "two ":
                        scope.cancel()
            assert scope.cancelled_caught
            assert (chat.messages, chat.busy) == ((), False)
            assert (await client.ask("q")).text == "next"

    with ScriptedServer(ENDLESS, answer("next")) as server:
        anyio.run(main, server.url, backend=backend)
    gc.collect()


@every_runtime
@pytest.mark.parametrize("on_interrupt", ["rollback", "keep"])
def test_an_interrupted_turn_is_rolled_back_or_kept(on_interrupt: str, runtime: Runtime) -> None:
    chat = Conversation(on_interrupt=on_interrupt)  # type: ignore[arg-type]
    with ScriptedServer(
        [CHUNKED, chunk("so far"), Do.CLOSE], answer("second"), answer("Internal server error")
    ) as server:
        runtime.ask_all(server.url, [{"prompt": prompt, "conversation": chat} for prompt in ("q1", "q2", "q3")])
    kept = (Message("user", "q1"), Message("assistant", "so far", partial=True)) if on_interrupt == "keep" else ()
    assert chat.messages == (*kept, Message("user", "q2"), Message("assistant", "second"))


def test_two_turns_at_once_are_refused_before_anything_is_sent() -> None:
    chat = Conversation()
    transport = ScriptedTransport(["a", "b"], "c", "d")
    with Client(transport=transport) as client, client.stream("q", conversation=chat) as stream:
        assert next(stream) == "a"
        assert chat.busy
        with pytest.raises(sdk.ConversationBusyError, match="fork"):
            client.ask("q2", conversation=chat)
        assert len(transport.requests) == 1
        assert client.ask("q2", conversation=chat.fork()).text == "c"
        assert stream.drain().text == "ab"
        assert client.ask("q3", conversation=chat).text == "d"
    assert [message.content for message in chat.messages] == ["q", "ab", "q3", "d"]


def test_a_closed_client_says_so() -> None:
    client = Client("http://127.0.0.1:9")
    derived = client.with_options(password="x")
    early = client.stream("q")
    client.close()
    client.close()
    for call in (
        lambda: client.ask("q"),
        lambda: derived.ask("q"),
        client.check_password,
        client.with_options,
        client.__enter__,
        lambda: next(early),
    ):
        with pytest.raises(sdk.ClientClosedError):
            call()
    assert "closed" in repr(client)


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_given_http_client_stays_open_and_one_that_is_closed_is_named(library: object) -> None:
    http = library.Client()  # type: ignore[attr-defined]
    Client("http://127.0.0.1:9", http_client=http).close()
    assert not http.is_closed
    http.close()
    with pytest.raises(sdk.ClientClosedError):
        Client("http://127.0.0.1:9", http_client=http).ask("q")


@BACKENDS
def test_a_closed_async_client_says_so(backend: str) -> None:
    async def main() -> None:
        client = AsyncClient("http://127.0.0.1:9")
        await client.aclose()
        with pytest.raises(sdk.ClientClosedError):
            await client.ask("q")
        async with httpx.AsyncClient() as http:
            pass
        with pytest.raises(sdk.ClientClosedError):
            await AsyncClient("http://127.0.0.1:9", http_client=http).ask("q")

    anyio.run(main, backend=backend)


def test_with_options_shares_the_pool_and_changes_the_rest() -> None:
    with ScriptedServer(answer("a"), answer("b")) as server, Client(server.url, password="one") as client:
        with client.with_options(password="two", model="m", timeout=5) as other:
            assert (client.ask("q").text, other.ask("q", model="m").text) == ("a", "b")
            assert other.settings.timeout == sdk.Timeout(total=5)
        assert not client.closed
        assert server.connections == 1
        assert [request["pass"] for request in server.requests] == ["one", "two"]


def test_a_full_pool_says_so() -> None:
    with (
        ScriptedServer(ENDLESS) as server,
        Client(server.url, max_connections=1, timeout=sdk.Timeout(connect=0.1)) as client,
    ):
        with client.stream("q"), pytest.raises(sdk.ConnectTimeoutError, match="pool is full"):
            client.ask("q")


@BACKENDS
def test_a_full_pool_says_so_async(backend: str) -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url, max_connections=1, timeout=sdk.Timeout(connect=0.1)) as client:
            async with client.stream("q"):
                with pytest.raises(sdk.ConnectTimeoutError, match="pool is full"):
                    await client.ask("q")
            assert (await client.ask("q")).text == "next"

    with ScriptedServer(ENDLESS, answer("next")) as server:
        anyio.run(main, server.url, backend=backend)


@BACKENDS
def test_cancelled_requests_do_not_wear_the_pool_out(backend: str) -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url, max_connections=2) as client:
            for _ in range(50):
                async with anyio.create_task_group() as group:
                    for _ in range(6):
                        group.start_soon(client.ask, "a b c d e f g h")
                    await anyio.lowlevel.checkpoint()
                    group.cancel_scope.cancel()
            assert (await client.ask("still there")).text == "You said: still there"

    with LocalServer() as server:
        anyio.run(main, server.url, backend=backend)


@every_runtime
def test_the_password_check(runtime: Runtime) -> None:
    async def acheck(url: str, password: str) -> bool:
        async with (
            runtime.http("Async") as http,
            AsyncClient(url, password=password, **runtime.given(http)) as client,
        ):
            return await client.check_password()

    with LocalServer(password="pw") as server:
        for password, expected in (("pw", True), ("no", False)):
            if runtime.name == "sync":
                with (
                    runtime.http() as http,
                    Client(server.url, password=password, **runtime.given(http)) as client,
                ):
                    assert client.check_password() is expected
            else:
                assert anyio.run(acheck, server.url, password, backend=runtime.name) is expected


def test_the_password_check_of_another_server() -> None:
    with ScriptedServer(whole(200, "<html>hello</html>"), whole(404)) as server, Client(server.url) as client:
        with pytest.raises(sdk.InvalidReplyError, match="check the base URL"):
            client.check_password()
        with pytest.raises(sdk.NotFoundError):
            client.check_password()


def test_user_code_s_own_exceptions_pass_through() -> None:
    def hook(request: httpx.Request) -> None:
        raise LookupError("mine")

    chat = Conversation()
    with httpx.Client(event_hooks={"request": [hook]}) as http:
        client = Client("http://127.0.0.1:9", http_client=http)
        with pytest.raises(LookupError, match="mine"):
            client.ask("q", conversation=chat)
    assert not chat.busy


def test_the_scripted_transports_of_the_testing_package() -> None:
    failure = TransportFailure(FailureKind.BROKEN, "gone")
    transport = ScriptedTransport("one", ["so ", failure], failure, ScriptedResponse(status=404))
    with Client(transport=transport) as client:
        assert client.ask("q").text == "one"
        with pytest.raises(sdk.StreamInterruptedError) as caught:
            client.ask("q")
        assert caught.value.partial_text == "so "
        with pytest.raises(sdk.TransportError, match="gone"):
            client.ask("q")
        with pytest.raises(sdk.NotFoundError):
            client.ask("q")
        with pytest.raises(RuntimeError, match="no answer for request number 5"):
            client.ask("q")
    assert transport.requests[0]["messages"] == [{"role": "user", "parts": [{"text": "q"}]}]


@BACKENDS
def test_the_async_scripted_transport(backend: str) -> None:
    async def main() -> None:
        transport = AsyncScriptedTransport(["a", "b"], ScriptedResponse(["ok"], headers={"Content-Length": "2"}))
        async with AsyncClient(transport=transport) as client:
            async with client.stream("q") as stream:
                assert [delta async for delta in stream] == ["a", "b"]
            assert (await client.ask("q")).ended_by == "length"

    anyio.run(main, backend=backend)
