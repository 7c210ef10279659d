"""The Python SDK for AIChatFree and every server that speaks its streaming chat protocol.

from aichatfree_sdk import Client

for delta in Client().stream("Hello"):
    print(delta, end="")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .async_client import AsyncClient, AsyncStream
    from .client import Client, Stream
    from .config import Settings, Timeout
    from .conversation import Conversation, Message
    from .core.retry import RetryBudget, RetryPolicy
    from .core.signing import generate_signature
    from .errors import (
        AIChatFreeError,
        APIStatusError,
        AuthenticationError,
        BadRequestError,
        ClientBoundError,
        ClientClosedError,
        ConnectError,
        ConnectTimeoutError,
        ConversationBusyError,
        ConversationFileError,
        EmptyReplyError,
        FirstTextTimeoutError,
        IdleTimeoutError,
        InvalidArgumentError,
        InvalidPasswordError,
        InvalidReplyError,
        InvalidSignatureError,
        NotFoundError,
        OverloadedError,
        RateLimitError,
        RedirectError,
        RequestTimeoutError,
        ServerError,
        StreamInterruptedError,
        TotalTimeoutError,
        TransportError,
        UnsupportedModelError,
        UpstreamRefusedError,
    )
    from .reply import Reply, Timing

__all__ = [
    "AIChatFreeError",
    "APIStatusError",
    "AsyncClient",
    "AsyncStream",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ClientBoundError",
    "ClientClosedError",
    "ConnectError",
    "ConnectTimeoutError",
    "Conversation",
    "ConversationBusyError",
    "ConversationFileError",
    "EmptyReplyError",
    "FirstTextTimeoutError",
    "IdleTimeoutError",
    "InvalidArgumentError",
    "InvalidPasswordError",
    "InvalidReplyError",
    "InvalidSignatureError",
    "Message",
    "NotFoundError",
    "OverloadedError",
    "RateLimitError",
    "RedirectError",
    "Reply",
    "RequestTimeoutError",
    "RetryBudget",
    "RetryPolicy",
    "ServerError",
    "Settings",
    "Stream",
    "StreamInterruptedError",
    "Timeout",
    "Timing",
    "TotalTimeoutError",
    "TransportError",
    "UnsupportedModelError",
    "UpstreamRefusedError",
    "__version__",
    "generate_signature",
]

# Where the names are from that are not errors. Each is imported when it is first asked for: a program of threads does
# not pay for asyncio, nor one that only looks at the version for anything.
_HOMES = {
    "async_client": {"AsyncClient", "AsyncStream"},
    "client": {"Client", "Stream"},
    "config": {"Settings", "Timeout"},
    "conversation": {"Conversation", "Message"},
    "core.retry": {"RetryBudget", "RetryPolicy"},
    "core.signing": {"generate_signature"},
    "reply": {"Reply", "Timing"},
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "errors")
    thing = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return thing


def __dir__() -> list[str]:
    return sorted(__all__)
