"""What both transports need to know of httpx, and of httpx2: how to make a client, a request, and sense of an error."""

from __future__ import annotations

import contextlib
import functools
import ssl
import sys
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx

from ...core.failure import FailureKind, TransportFailure
from ...core.limits import Limits
from ...core.request import Request
from ...core.response import ResponseHead
from ...errors import InvalidArgumentError
from .pool import OWNER
from .wire import Wire

FORKED = "its http_client has connections of the process that this one was forked from"
UNASKED = "an answer that was there before the request"
ELSEWHERE = "its connections are those of another event loop or process"


def _library_of(client: object) -> ModuleType:
    """Return httpx or httpx2, whichever ``client`` or one of its base classes is from."""
    for base in type(client).__mro__:
        name = base.__module__.partition(".")[0]
        if name in ("httpx", "httpx2"):
            return sys.modules[name]
    raise InvalidArgumentError("http_client", f"must be a client of httpx or httpx2, not {type(client).__name__}")


def check_client(client: object, kind: str) -> ModuleType:
    """Return the library of ``client``, or raise InvalidArgumentError where it is none of that kind."""
    library = _library_of(client)
    if not isinstance(client, getattr(library, kind)):
        raise InvalidArgumentError(
            "http_client", f"must be a {library.__name__}.{kind} here, not {type(client).__name__}"
        )
    return library


def make_client(
    kind: Callable[..., Any], connections: Callable[..., Any], proxy: str | None, max_connections: int
) -> Any:
    """Make a client of our own.

    Args:
        kind: httpx.Client or httpx.AsyncClient.
        connections: what takes the place of httpcore's pool.
        proxy: the URL of a proxy.
        max_connections: how many there may be.

    Raises:
        InvalidArgumentError: the proxy, or what the environment says of proxies, cannot be used. What it says of
            certificates is looked at by the first request that needs them, and raises the same.
    """
    # A proxy cannot reach our loopback, but HTTP_PROXY would send it there; one that is named as proxy= is meant.
    direct = {} if proxy else {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
    try:
        # With a context that trusts nobody: to read certificates is a quarter of what it takes to begin, and http://
        # needs none.
        client = kind(
            proxy=proxy, mounts=direct, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), follow_redirects=False
        )
    except ImportError as error:  # a SOCKS proxy needs a package that httpx does not install
        problem = str(error)
    except (ValueError, httpx.InvalidURL):  # its text repeats the URL, which may hold a password
        where = "it" if proxy else "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
        problem = f"{where} holds no URL of a proxy that can be used: correct or unset it"
    else:
        take_over(client, functools.partial(connections, most=max_connections, make_context=_make_context))
        return client
    raise InvalidArgumentError("proxy", problem)


def _make_context() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        names, problem = "SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE", str(error)
    raise InvalidArgumentError("http_client", f"cannot be made with what {names} name: {problem}")


def take_over(client: Any, connections: Callable[[Any], Any]) -> None:
    """Put what ``connections`` makes of them in the place of the client's pools; httpx has no argument for it."""
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001
        if transport is not None:
            transport._pool = connections(transport._pool)  # noqa: SLF001


# Making these costs httpx more than sending them, and memory for each stream; a program has few.
_to_url = functools.lru_cache(maxsize=64)(httpx.URL)
_to_headers = functools.lru_cache(maxsize=64)(httpx.Headers)


def own_request(request: Request, wire: Wire, trace: Callable[..., Any]) -> httpx.Request:
    """Return the request for a client of our own, whose cookies, authentication and parameters do not exist."""
    connect, longest = wire.limits.connect_wait(), wire.limits.wait()
    timeout = {"connect": connect, "read": longest, "write": longest, "pool": connect}
    return httpx.Request(
        request.method,
        _to_url(request.url),
        headers=_to_headers(request.headers),
        content=request.body,
        extensions={"timeout": timeout, "trace": trace, OWNER: wire},
    )


class _Timeouts(dict[str, float | None]):
    """A request's timeouts, each as it is when httpcore asks for it: over HTTP/2, which has no taps, before each wait.

    Args:
        limits: of the request.
    """

    def __init__(self, limits: Limits) -> None:
        connect, longest = limits.connect_wait(), limits.wait()
        super().__init__(connect=connect, read=longest, write=longest, pool=connect)
        self._limits = limits

    def get(self, name: str, default: object = None) -> Any:
        return self._limits.wait() if name in ("read", "write") else super().get(name, default)


def client_request(request: Request, wire: Wire, trace: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of ``build_request``, for a client that was given to us."""
    return {
        "method": request.method,
        "url": request.url,
        "headers": list(request.headers),
        "content": request.body,
        "extensions": {"timeout": _Timeouts(wire.limits), "trace": trace, OWNER: wire},
    }


def host_of(request: Request) -> str:
    """Return the host that a request goes to."""
    return urlsplit(request.url).hostname or ""


def head_of(response: Any) -> ResponseHead:
    """Return the head of a response."""
    # Latin-1 takes any byte, so no header can make this raise; httpx would guess an encoding.
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
    return ResponseHead(response.status_code, headers, response.http_version)


@contextlib.contextmanager
def translating(library: ModuleType, wire: Wire) -> Generator[None]:
    """Turn whatever ``library`` raises in the block into TransportFailure."""
    try:
        yield
    except GeneratorExit:
        wire.unread = True
        raise
    except caught(library) as error:
        if wire.closing:
            raise TransportFailure(FailureKind.CLOSED) from None
        with contextlib.suppress(AttributeError):
            error.request = None  # type: ignore[attr-defined] # it holds the body, which holds the password
        kind, detail = _kind_of(error, library, wire), str(error).rstrip(".") or type(error).__name__
        cause: Exception | None = error
        if _is_no_http(error, library):
            # h11 quotes the bytes that it stumbled over, and a server may echo the request in them.
            detail, cause = detail.partition(":")[0], None
        raise TransportFailure(kind, detail + wire.proxy_note(kind)) from cause


def _kind_of(error: Exception, library: ModuleType, wire: Wire) -> FailureKind:
    if isinstance(error, library.PoolTimeout):
        return FailureKind.POOL_TIMEOUT
    if isinstance(error, library.TimeoutException):
        late = wire.connecting or isinstance(error, library.ConnectTimeout)
        return FailureKind.CONNECT_TIMEOUT if late else FailureKind.TIMEOUT
    connecting = (library.ConnectError, library.ProxyError, library.UnsupportedProtocol, library.InvalidURL)
    # What is raised on the way through a proxy, or by a lower layer, does not say in which step it was.
    if wire.connecting or isinstance(error, connecting):
        return FailureKind.CONNECT
    if wire.stale:
        return FailureKind.STALE
    return FailureKind.MALFORMED if _is_no_http(error, library) else FailureKind.BROKEN


def _is_no_http(error: Exception, library: ModuleType) -> bool:
    """Tell bytes that are no HTTP from a connection that ended early: httpx has one class for both, h11 two texts."""
    early = any(words in str(error) for words in ("peer closed", "peer unexpectedly closed", "disconnected"))
    return isinstance(error, library.RemoteProtocolError) and not early


def caught(library: ModuleType) -> tuple[type[Exception], ...]:
    """Return what the library, and what is under it, can raise."""
    # What httpcore lets through when it connects or closes, or when a socket is closed under a reader; and for a proxy
    # whose host is no name, whose port is no port, or that does not speak SOCKS.
    network = (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)
    socks = getattr(sys.modules.get("socksio.exceptions"), "SOCKSError", OSError)
    names = (UnicodeError, OverflowError, ExceptionGroup, socks)
    return (library.HTTPError, library.InvalidURL, library.StreamError, *network, *names)


def has_been_read(response: Any) -> bool:
    """Tell whether a hook or an auth flow of the user's client has read the body; others have its connection by now.

    Where its chunks ended is lost then, and with it whether the last of them was the failure trailer.
    """
    return bool(response.is_closed or response.is_stream_consumed)
