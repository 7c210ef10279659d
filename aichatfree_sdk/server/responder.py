"""Responders: what stands where a deployment has its model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import TypeAlias

from aichatfree_sdk.server.text import split_text
from aichatfree_sdk.server.wire import ChatMessage

Deltas: TypeAlias = Iterable[str] | AsyncIterable[str]
Responder: TypeAlias = Callable[[tuple[ChatMessage, ...]], Deltas]


class UpstreamError(Exception):
    """The model behind refuses or fails: raised by a responder, it becomes the server's error 500.

    Args:
        message: the text of the error body; the marker ``[429 Too Many Requests]`` in it means a rate limit,
            ``[503 Service Unavailable]`` an overload.
        code: the ``code`` field of the error body.

    Attributes:
        message: as given.
        code: as given.

    Raised after the first delta it ends the answer the way every failure there does, with the chunk
    ``Internal server error``.

    Example:
        >>> from aichatfree_sdk.server import UpstreamError
        >>> error = UpstreamError("[503 Service Unavailable] The model is overloaded. Please try again later.")
        >>> error.code
        'Error'
    """

    message: str
    code: str

    def __init__(self, message: str, code: str = "Error") -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message


async def echo_responder(messages: tuple[ChatMessage, ...]) -> AsyncGenerator[str, None]:
    """Answer ``You said: `` and the last message, word by word: no model, no network, always the same.

    Args:
        messages: the history; only the last message matters.

    Returns:
        Deltas that join to ``"You said: " + messages[-1].text``.

    Example:
        >>> import asyncio
        >>> from aichatfree_sdk.server import ChatMessage, echo_responder
        >>> async def deltas():
        ...     return [delta async for delta in echo_responder((ChatMessage("user", "Hello there"),))]
        >>> asyncio.run(deltas())
        ['You said: ', 'Hello ', 'there']
    """
    yield "You said: "
    for delta in split_text(messages[-1].text):
        yield delta


def scripted_responder(deltas: Iterable[str], error: Exception | None = None) -> Responder:
    """Return a responder that always gives the same answer.

    Args:
        deltas: the deltas of the answer, each one chunk on the wire; an empty one is not sent.
        error: what goes wrong after them, or None for a clean end.

    Returns:
        A responder for ``create_app`` or ``LocalServer``; it may serve any number of answers at once.

    Example:
        >>> from aichatfree_sdk.server import scripted_responder
        >>> from aichatfree_sdk.testing import LocalServer
        >>> with LocalServer(responder=scripted_responder(["Par", "is."])) as server, Client(server.url) as client:
        ...     list(client.stream("Capital of France?"))
        ['Par', 'is.']
    """
    script = tuple(deltas)

    async def responder(messages: tuple[ChatMessage, ...]) -> AsyncGenerator[str, None]:
        for delta in script:
            yield delta
        if error is not None:
            raise error.with_traceback(None)  # else it would carry the tracebacks of all answers before

    return responder
