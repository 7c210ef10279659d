"""A network for httpcore's pool: the real one, except that a call of it, whichever is wanted, fails.

httpcore makes all of its I/O through a network backend (https://www.encode.io/httpcore/network-backends/), which has
blocking calls, or coroutines of the same names. What is faked here is a failure, never a success. ``get_extra_info``
does no I/O, and no backend's raises: it is not counted.
"""

from __future__ import annotations

import functools
import importlib
import re
import ssl
from types import ModuleType
from typing import Any

from attrs import define, field
from faults import Failing


@define(eq=False)
class Network(Failing):
    """The calls to the network.

    Attributes:
        core: httpcore or httpcore2.
        piece: how many bytes a read brings at most, so that there are many reads.
        sockets: every socket there was; held here, none is closed by the garbage collector.
        pool: httpcore's pool, or ours, which shall be idle in the end.
    """

    core: ModuleType
    piece: int
    sockets: list[Any] = field(factory=list, init=False)
    pool: Any = field(default=None, init=False)

    @property
    def left_open(self) -> list[Any]:
        sockets = [sock for sock in self.sockets if sock.fileno() != -1]
        return (
            sockets if re.search("Requests: 0 active, 0 queued| 0 in use", repr(self.pool)) else [*sockets, self.pool]
        )


class _Stream:
    """What blocking and async streams share."""

    def __init__(self, network: Network, real: Any, *, secure: bool = False) -> None:
        self.network, self.real, self.secure = network, real, secure
        self.received, self.reused, self.broken = b"", False, False
        network.sockets.append(real.get_extra_info("socket"))

    def get_extra_info(self, info: str) -> Any:
        return self.real.get_extra_info(info)

    def _called(self, call: str) -> bool:
        try:
            ended = self.network.called(call, reused=self.reused, secure=self.secure, received=self.received)
        except BaseException:
            self.broken = True
            raise
        self.broken = self.broken or ended
        return ended

    def _reading(self, max_bytes: int) -> int:
        """Return how many bytes to read; a connection that has failed once has nothing more to say."""
        self._called("read")
        return 0 if self.broken else min(max_bytes, self.network.piece)

    def _read(self, data: bytes) -> bytes:
        self.received += data
        return data

    def _writing(self, buffer: bytes) -> None:
        if self.received:
            self.received, self.reused = b"", True
        if buffer:  # h11 ends a body with a write of nothing, of which no backend makes a call
            self._called("write")
        if self.broken:
            raise self.network.core.WriteError("the connection has failed before")


class _BlockingStream(_Stream):
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        size = self._reading(max_bytes)
        return self._read(self.real.read(size, timeout)) if size else b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._writing(buffer)
        self.real.write(buffer, timeout)

    def close(self) -> None:
        self.real.close()
        self._called("close")

    def start_tls(self, *args: Any, **options: Any) -> _BlockingStream:
        try:
            self._called("start_tls")
        except BaseException:
            self.real.close()  # as the real one does
            raise
        return _BlockingStream(self.network, self.real.start_tls(*args, **options), secure=True)


class _AsyncStream(_Stream):
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        size = self._reading(max_bytes)
        return self._read(await self.real.read(size, timeout)) if size else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._writing(buffer)
        await self.real.write(buffer, timeout)

    async def aclose(self) -> None:
        await self.real.aclose()
        self._called("close")

    async def start_tls(self, *args: Any, **options: Any) -> _AsyncStream:
        try:
            self._called("start_tls")
        except BaseException:
            await self.real.aclose()
            raise
        return _AsyncStream(self.network, await self.real.start_tls(*args, **options), secure=True)


class _BlockingBackend:
    def __init__(self, network: Network, real: Any) -> None:
        self.network, self.real = network, real

    def connect_tcp(self, *args: Any, **options: Any) -> _BlockingStream:
        self.network.called("connect_tcp")
        return _BlockingStream(self.network, self.real.connect_tcp(*args, **options))


class _AsyncBackend:
    def __init__(self, network: Network, real: Any) -> None:
        self.network, self.real = network, real

    async def connect_tcp(self, *args: Any, **options: Any) -> _AsyncStream:
        self.network.called("connect_tcp")
        return _AsyncStream(self.network, await self.real.connect_tcp(*args, **options))


def core_of(library: ModuleType) -> ModuleType:
    """Return the httpcore of httpx or httpx2."""
    return importlib.import_module({"httpx": "httpcore", "httpx2": "httpcore2"}[library.__name__])


def backend_of(network: Network, runtime: str) -> Any:
    """Return the backend of ``runtime`` that goes over ``network``."""
    core = network.core
    real = {"sync": core.SyncBackend, "asyncio": core.AnyIOBackend, "trio": core.TrioBackend}[runtime]()
    return (_BlockingBackend if runtime == "sync" else _AsyncBackend)(network, real)


def make_http_client(
    library: ModuleType, runtime: str, context: ssl.SSLContext, backend: Any, *, proxy: str | None = None
) -> Any:
    """Return a client of ``library`` for one connection at a time, over httpcore's ``backend``."""
    core, blocking = core_of(library), runtime == "sync"
    transport = getattr(library, "HTTPTransport" if blocking else "AsyncHTTPTransport")(verify=context, trust_env=False)
    pool = core.ConnectionPool if blocking else core.AsyncConnectionPool
    assert isinstance(transport._pool, pool)  # under another name the real network would be used
    if proxy is not None:
        pool = functools.partial(core.HTTPProxy if blocking else core.AsyncHTTPProxy, proxy)
    # A pool takes a backend, but httpx has no argument for it.
    transport._pool = pool(ssl_context=context, max_connections=1, network_backend=backend)
    return (library.Client if blocking else library.AsyncClient)(transport=transport, trust_env=False)
