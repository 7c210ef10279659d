"""Every error the SDK raises, under one root and split by whose fault it is.

::

    AIChatFreeError
    ├── InvalidArgumentError (also ValueError)      you: an argument, before any I/O
    │   └── UnsupportedModelError                       a model this deployment does not serve
    ├── ClientClosedError                           you: the client was closed
    ├── ClientBoundError                            you: the client is another event loop's, or another process's
    ├── ConversationBusyError                       you: two turns at once on one conversation
    ├── ConversationFileError (also ValueError)     a conversation file that cannot be read as one
    ├── APIStatusError                              the server answered, with a status that is no answer
    │   ├── BadRequestError                             400: it does not like the messages
    │   ├── AuthenticationError                         401
    │   │   ├── InvalidPasswordError
    │   │   └── InvalidSignatureError                   wrong secret, or a clock that is off
    │   ├── NotFoundError                               404: no such server at this URL
    │   ├── RateLimitError                              429, or the upstream's 429 inside a 500
    │   ├── OverloadedError                             503, or the upstream's 503 inside a 500
    │   ├── UpstreamRefusedError                        the model's provider refused the request
    │   ├── ServerError                                 any other 5xx
    │   └── RedirectError                               3xx: never followed
    ├── TransportError                              the network failed, or a clock ran out
    │   ├── ConnectError
    │   └── RequestTimeoutError (also TimeoutError)     one subclass per clock
    │       ├── ConnectTimeoutError
    │       ├── FirstTextTimeoutError
    │       ├── IdleTimeoutError
    │       └── TotalTimeoutError
    ├── StreamInterruptedError                      the answer began and did not end well
    ├── EmptyReplyError                             200 and not a single byte
    └── InvalidReplyError                           bytes that are no answer: not UTF-8, not HTTP, too many
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any], cause: Any) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    error.__cause__ = cause
    return error


class PicklableError(Exception):
    """An exception that pickles to its exact class, with its attributes and its cause."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__, self.__cause__ if self._keeps_cause() else None)

    def _keeps_cause(self) -> bool:
        # A foreign cause (an exception of the HTTP library) may hold the request, and the request holds the password;
        # what it had to say is in our own text already. Python's own hold what they say.
        kind = type(self.__cause__)
        return issubclass(kind, PicklableError) or kind.__module__ in ("builtins", "json.decoder")


class AIChatFreeError(PicklableError):
    """The root of every error of this SDK.

    Attributes:
        partial_text: the text of the answer that had been delivered before the error; ``""`` where none had.
        retries: how many times the request had been sent again before the error was raised.
    """

    partial_text: str
    retries: int

    def __init__(self, message: str, *, partial_text: str = "", retries: int = 0) -> None:
        super().__init__(message)
        self.partial_text = partial_text
        self.retries = retries


class InvalidArgumentError(AIChatFreeError, ValueError):
    """An argument that cannot work; nothing was sent and nothing was changed.

    Attributes:
        argument: the name of the argument.
    """

    argument: str

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")
        self.argument = argument


class UnsupportedModelError(InvalidArgumentError):
    """A model other than the one the client's deployment serves; the wire has no way to ask for it."""


class ClientClosedError(AIChatFreeError):
    """The client, or the HTTP client given to it, was closed before the request."""


class ClientBoundError(AIChatFreeError):
    """The client's connections belong to another event loop, or to the process that this one was forked from."""


class ConversationBusyError(AIChatFreeError):
    """A second turn was begun on a conversation whose first is still being answered."""


class ConversationFileError(AIChatFreeError, ValueError):
    """A file that is not a whole, valid conversation; the file was left as it is.

    Attributes:
        path: the file.
    """

    path: str

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class APIStatusError(AIChatFreeError):
    """The server answered with a status that is not a stream.

    Attributes:
        status: the HTTP status.
        headers: the response's headers, names in lower case, in the order they came.
        body: the response's body as far as it was read, at most 64 KiB.
        server_message: the server's own words, or ``""`` where it gave none.
        retry_after: seconds the server asks to wait, or None where it did not say.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    server_message: str
    retry_after: float | None

    def __init__(
        self,
        message: str,
        *,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        server_message: str = "",
        retry_after: float | None = None,
        partial_text: str = "",
        retries: int = 0,
    ) -> None:
        super().__init__(message, partial_text=partial_text, retries=retries)
        self.status = status
        self.headers = tuple(headers)
        self.body = body
        self.server_message = server_message
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400: the server does not accept the messages."""


class AuthenticationError(APIStatusError):
    """401: the server wants something that it did not get."""


class InvalidPasswordError(AuthenticationError):
    """The site password is wrong or missing."""


class InvalidSignatureError(AuthenticationError):
    """The signature does not match: the secret is wrong or, on some forks, a clock is off.

    Attributes:
        clock_skew: seconds that the server's clock is ahead of ours, or None where it sent no Date.
    """

    clock_skew: float | None = None


class NotFoundError(APIStatusError):
    """404: there is no AIChatFree server at this URL."""


class RateLimitError(APIStatusError):
    """Too many requests; ``retry_after`` says how long to wait where the server does."""


class OverloadedError(APIStatusError):
    """The deployment, or the model behind it, is overloaded."""


class UpstreamRefusedError(APIStatusError):
    """The model's provider refused this request; sending it again cannot help."""


class ServerError(APIStatusError):
    """The server, or a proxy in front of it, failed."""


class RedirectError(APIStatusError):
    """The server pointed elsewhere; it is not followed, as the body carries the password."""


class TransportError(AIChatFreeError):
    """The network failed before an answer began, or a clock ran out, at any time."""


class ConnectError(TransportError):
    """No connection could be made: nothing was sent."""


class RequestTimeoutError(TransportError, TimeoutError):
    """A clock ran out; the subclass says which."""


class ConnectTimeoutError(RequestTimeoutError):
    """No connection within ``Timeout.connect`` seconds, waiting for a free one included."""


class FirstTextTimeoutError(RequestTimeoutError):
    """No text within ``Timeout.first_text`` seconds of the request."""


class IdleTimeoutError(RequestTimeoutError):
    """No further bytes for ``Timeout.idle`` seconds in the middle of an answer."""


class TotalTimeoutError(RequestTimeoutError):
    """The whole call, retries included, took longer than ``Timeout.total`` seconds."""


class StreamInterruptedError(AIChatFreeError):
    """The answer began and did not come to its end."""


class EmptyReplyError(AIChatFreeError):
    """The server said 200 and sent no answer."""


class InvalidReplyError(AIChatFreeError):
    """What came is not an answer: not UTF-8, not HTTP, compressed unasked, or too long."""
