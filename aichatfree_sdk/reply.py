"""What an answer was: its text, when it came, and how it ended."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import field, frozen

from .conversation import Message

EndedBy: TypeAlias = Literal["chunked", "length", "close"]


@frozen
class Timing:
    """When an answer came, in seconds from the start of the call.

    Attributes:
        first_text: until the first text; connecting, waiting and retries are in it.
        total: until the end of the answer.

    Example:
        >>> Client().ask("Hello").timing
        Timing(first_text=..., total=...)
    """

    first_text: float
    total: float


@frozen
class Reply:
    """A finished answer.

    Attributes:
        text: the whole answer; ``""`` of a stream with ``keep_text=False``.
        timing: when it came.
        ended_by: how the server marked the end. ``"chunked"`` and ``"length"`` are proof that all of the HTTP body
            came; ``"close"`` (the connection was closed and nothing said how long the body is) cannot tell an end
            from a cut.
        retries: how many times the request was sent again before this answer came.
        status: the HTTP status.
        headers: the response's headers, names in lower case, in the order they came.

    Example:
        >>> Client().ask("Hello")
        Reply(text='You said: Hello', timing=Timing(...), ended_by='chunked', retries=0, status=200)
    """

    text: str
    timing: Timing
    ended_by: EndedBy
    retries: int = 0
    status: int = 200
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def message(self) -> Message:
        """The answer as a message of the assistant.

        Raises:
            InvalidArgumentError: its text was not kept.
        """
        return Message("assistant", self.text)
