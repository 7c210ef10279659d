"""One way to run a client on every runtime and over every HTTP library, so that one table of cases serves them all."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

import aiohttp
import anyio
import httpx
import httpx2
import hygiene
import pytest
import tls
from attrs import define, field
from own import given

from aichatfree_sdk import AIChatFreeError, AsyncClient, AsyncStream, Client, Conversation, Reply, Stream
from aichatfree_sdk.transports.aiohttp import AiohttpTransport

LIBRARIES = {"httpx": httpx, "httpx2": httpx2}


@define
class Outcome:
    """What a call came to."""

    deltas: list[str] = field(factory=list)
    reply: Reply | None = None
    error: AIChatFreeError | None = None

    @property
    def text(self) -> str:
        return "".join(self.deltas)


@define
class Runtime:
    """A runtime and an HTTP library: how to make a client, and how to ask it.

    Attributes:
        name: of the runtime.
        library: httpx or httpx2.
        own: the client makes its HTTP client for itself; else it is given one.
    """

    name: str
    library: Any
    own: bool = False

    @property
    def id(self) -> str:
        return f"{self.name}-{'own' if self.own else self.library.__name__}"

    def given(self, http: Any, max_connections: int = 100) -> dict[str, Any]:
        """Return the argument of a client that ``http`` is given to."""
        if self.library is aiohttp:
            return {"transport": http}
        return given(http, to_own=self.own, max_connections=max_connections)

    def ask_all(
        self,
        url: str,
        calls: Iterable[dict[str, Any]],
        *,
        pool: dict[str, Any] | None = None,
        **options: Any,
    ) -> list[Outcome]:
        """Make one client, ask it each call in turn, and close it.

        Args:
            url: the server.
            calls: what to pass to ``stream``; taken one by one, each when the one before it has ended.
            pool: what the HTTP client's connections are like: arguments of `http`.
            options: for the client.
        """
        pool = pool or {}
        most = pool.get("max_connections", 100)
        if self.name == "sync":
            with self.http("", **pool) as http, Client(url, **self.given(http, most), **options) as client:
                return [self._ask(client, dict(call)) for call in calls]

        async def main() -> list[Outcome]:
            with anyio.fail_after(60):  # nothing of ours waits that long: it hangs
                return await ask_in_turn()

        async def ask_in_turn() -> list[Outcome]:
            async with (
                self.http("Async", **pool) as http,
                AsyncClient(url, **self.given(http, most), max_connections=most, **options) as client,
            ):
                return [await self._aask(client, dict(call)) for call in calls]

        return hygiene.run(main, backend=self.name)

    def http(
        self, kind: str = "", *, socket_options: Any = None, max_connections: int = 100, proxy: str | None = None
    ) -> Any:
        """Make an HTTP client that trusts the tests' authority, too; ``kind`` is ``""`` or ``"Async"``."""
        if self.library is aiohttp:
            return aiohttp_transport(socket_options or [], proxy=proxy, max_connections=max_connections)
        transport = getattr(self.library, f"{kind}HTTPTransport")(
            verify=tls.client_context(),
            trust_env=False,
            limits=self.library.Limits(max_connections=max_connections),
            socket_options=socket_options,
            proxy=proxy,
        )
        return getattr(self.library, f"{kind}Client")(transport=transport, trust_env=False)

    def ask(self, url: str, prompt: Any = "q", call: dict[str, Any] | None = None, **options: Any) -> Outcome:
        return self.ask_all(url, [{"prompt": prompt, **(call or {})}], **options)[0]

    def _ask(self, client: Client, call: dict[str, Any]) -> Outcome:
        return self.read(client.stream(call.pop("prompt"), **call))

    async def _aask(self, client: AsyncClient, call: dict[str, Any]) -> Outcome:
        return await self.aread(client.stream(call.pop("prompt"), **call))

    @staticmethod
    def read(stream: Stream) -> Outcome:
        outcome = Outcome()
        try:
            with stream:
                for delta in stream:
                    outcome.deltas.append(delta)
            outcome.reply = stream.reply
        except AIChatFreeError as error:
            outcome.error = error
        return outcome

    @staticmethod
    async def aread(stream: AsyncStream) -> Outcome:
        outcome = Outcome()
        try:
            async with stream:
                async for delta in stream:
                    outcome.deltas.append(delta)
            outcome.reply = stream.reply
        except AIChatFreeError as error:
            outcome.error = error
        return outcome


@contextlib.asynccontextmanager
async def aiohttp_transport(
    socket_options: list[Any], *, proxy: str | None = None, max_connections: int = 100
) -> AsyncGenerator[AiohttpTransport]:
    """Make a transport over aiohttp that trusts the tests' authority, too, with the sockets that are wanted."""

    def make(address: Any) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setblocking(False)
        for option in socket_options:
            made.setsockopt(*option)
        return made

    connector = aiohttp.TCPConnector(ssl=tls.client_context(), limit=0, socket_factory=make)
    async with connector, AiohttpTransport(connector, proxy=proxy, max_connections=max_connections) as transport:
        yield transport


HTTPX_RUNTIMES = [
    Runtime(name, library, own)
    for name in ("sync", "asyncio", "trio")
    for library, own in [(httpx, True), *((library, False) for library in LIBRARIES.values())]
]
RUNTIMES = [*HTTPX_RUNTIMES, Runtime("asyncio", aiohttp)]
every_runtime = pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.id)

__all__ = ["Awaitable", "Callable", "Conversation", "Outcome", "Runtime", "every_runtime"]
