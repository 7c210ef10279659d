"""The Python SDK for AIChatFree and every server that speaks its streaming chat protocol.

from aichatfree_sdk import Client

for delta in Client().stream("Hello"):
    print(delta, end="")
"""

from ._version import __version__
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
