"""How a transport says that the network failed, whatever HTTP library it drives, and which error that is."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..errors import (
    AIChatFreeError,
    ClientBoundError,
    ClientClosedError,
    ConnectError,
    ConnectTimeoutError,
    FirstTextTimeoutError,
    IdleTimeoutError,
    InvalidReplyError,
    PicklableError,
    StreamInterruptedError,
    TotalTimeoutError,
    TransportError,
)

if TYPE_CHECKING:
    from ..config import Timeout


class FailureKind(Enum):
    """What failed, as far as it decides what the client does next.

    Example:
        >>> from aichatfree_sdk.core.failure import FailureKind
        >>> FailureKind.STALE.value
        'stale'
    """

    CONNECT = "connect"
    """No connection: name, refusal, TLS, proxy; nothing of the request was sent."""
    CONNECT_TIMEOUT = "connect timeout"
    """No connection in time."""
    POOL_TIMEOUT = "pool timeout"
    """Every connection was in use."""
    STALE = "stale"
    """A reused connection was dead before a byte of the response came, so the request is taken for unread; or it still
    held bytes from behind an earlier answer, so what comes on it answers nothing."""
    TIMEOUT = "timeout"
    """A wait for bytes, in either direction, took longer than the limits allow."""
    BROKEN = "broken"
    """The connection ended in the middle."""
    MALFORMED = "malformed"
    """What came is not HTTP."""
    CLOSED = "closed"
    """The HTTP client was closed."""
    BOUND = "bound"
    """Its connections are another event loop's, or another process's."""


class TransportFailure(PicklableError):  # noqa: N818 - it is no error yet: the exchange makes one of it
    """The network, or the library that talks to it, failed.

    Attributes:
        kind: what failed.
        detail: the library's own words, for the error that the user sees.

    Example:
        >>> from aichatfree_sdk.core.failure import FailureKind, TransportFailure
        >>> raise TransportFailure(FailureKind.CONNECT, "no route to host")
        Traceback (most recent call last):
        aichatfree_sdk.core.failure.TransportFailure: connect: no route to host
    """

    kind: FailureKind
    detail: str

    def __init__(self, kind: FailureKind, detail: str = "") -> None:
        super().__init__(f"{kind.value}: {detail}" if detail else kind.value)
        self.kind = kind
        self.detail = detail


# Which deadline has passed at the moment of a failure.
RanOut: TypeAlias = Literal["first_text", "total"] | None

_TIMEOUTS = frozenset({FailureKind.TIMEOUT, FailureKind.CONNECT_TIMEOUT, FailureKind.POOL_TIMEOUT})
_NAME_ANOTHER = "check the network and the URL, or name another deployment with base_url= or AICHATFREE_BASE_URL"


def network_error(
    failure: TransportFailure, *, base_url: str, timeout: Timeout, ran_out: RanOut, answering: bool, has_text: bool
) -> AIChatFreeError:
    """Return the public error that a transport's failure is.

    Args:
        failure: what the transport raised.
        base_url: where the request went.
        timeout: the clocks that were running.
        ran_out: which deadline has passed.
        answering: True once the head of a 2xx response has come.
        has_text: True once text was handed on.
    """
    detail = f" ({failure.detail})" if failure.detail else ""
    if failure.kind in (FailureKind.CLOSED, FailureKind.BOUND):
        return client_error(failure.kind, failure.detail)
    if failure.kind in _TIMEOUTS:
        return _timeout_error(failure.kind, base_url, timeout, ran_out)
    if failure.kind is FailureKind.CONNECT:
        return ConnectError(f"could not connect to {base_url}{detail}: {_NAME_ANOTHER}")
    if failure.kind is FailureKind.MALFORMED:
        return InvalidReplyError(f"{base_url}: what came is not HTTP{detail}; is it an AIChatFree server's URL?")
    if answering:
        kept = "the text so far is in partial_text; " if has_text else ""
        return StreamInterruptedError(f"{base_url}: the connection broke in the answer{detail}: {kept}ask again")
    return TransportError(f"{base_url}: the connection broke before an answer began{detail}: ask again")


def client_error(kind: FailureKind, detail: str = "") -> AIChatFreeError:
    """Return the error of a client that cannot be used: it is closed, or bound to where it was used before."""
    if kind is FailureKind.CLOSED:
        return ClientClosedError("the client is closed: make a new one")
    return ClientBoundError(f"the client was used elsewhere before ({detail}): make one in each event loop and process")


def _timeout_error(kind: FailureKind, url: str, timeout: Timeout, ran_out: RanOut) -> AIChatFreeError:
    if ran_out == "total":
        where = " while it waited for a free connection: the pool is full" if kind is FailureKind.POOL_TIMEOUT else ""
        return TotalTimeoutError(f"{url}: the call took longer than the {timeout.total:g} s of timeout.total{where}")
    if kind is FailureKind.POOL_TIMEOUT:
        return ConnectTimeoutError(
            f"{url}: the pool is full, no connection became free within {_spell(timeout.connect)} (timeout.connect): "
            "close streams that are no longer read, or raise max_connections"
        )
    if ran_out == "first_text":
        return FirstTextTimeoutError(
            f"{url}: no text within {_spell(timeout.first_text)} (timeout.first_text): allow more time, or ask again"
        )
    if kind is FailureKind.CONNECT_TIMEOUT:
        return ConnectTimeoutError(
            f"{url}: no connection within {_spell(timeout.connect)} (timeout.connect): {_NAME_ANOTHER}"
        )
    return IdleTimeoutError(f"{url}: nothing more came for {_spell(timeout.idle)} (timeout.idle): ask again")


def _spell(seconds: float | None) -> str:
    # None: a limit of the HTTP client that was given to us, not one of ours.
    return "the time allowed" if seconds is None else f"{seconds:g} s"
