"""Messages and settings become signed requests: the only place that knows how a request looks on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import field, frozen

from ..config import Settings, merge_headers
from ..conversation import Message
from ..errors import InvalidArgumentError
from .signing import generate_signature

Headers = tuple[tuple[str, str], ...]

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_WIRE_ROLES = {"user": "user", "assistant": "model"}
# A shorter value of a header is no key, and to mask it would only garble what a server has to say.
_SHORTEST_CREDENTIAL = 8


@frozen
class Request:
    """An HTTP request, ready to be sent.

    Attributes:
        method: the HTTP method.
        url: the absolute URL.
        headers: the headers, Host and framing excepted.
        body: the body.
        sensitive: what must not reach an error's text, in whatever spelling.

    Example:
        >>> from aichatfree_sdk.core.request import Request
        >>> Request("POST", "https://chat.example.org/api/generate", (("Accept", "*/*"),), b"{}")
        Request(method='POST', url='https://chat.example.org/api/generate', headers=['Accept'])
    """

    method: str
    url: str
    headers: Headers = field(repr=lambda headers: repr([name for name, _ in headers]))
    body: bytes = field(repr=False)
    sensitive: tuple[str, ...] = field(default=(), repr=False)


@frozen(eq=False, repr=False)
class AnswerCall:
    """``POST /api/generate``: everything of it but the moment it is sent at.

    Args:
        settings: where it goes and what it is signed with.
        messages: the messages as the wire has them, from `fold`.
        headers: headers for this call alone.
    """

    settings: Settings
    messages: tuple[Message, ...]
    headers: Headers = ()

    def stamp(self, time_ms: int) -> Request:
        """Return the request as it is sent at ``time_ms``, milliseconds since the Unix epoch."""
        sign = generate_signature(time_ms, self.messages[-1].content, self.settings.secret)
        payload = {
            "messages": [
                {"role": _WIRE_ROLES[message.role], "parts": [{"text": message.content}]} for message in self.messages
            ],
            "time": time_ms,
            "pass": self.settings.password,
            "sign": sign,
        }
        return _post(self.settings, "/api/generate", payload, self.headers, sign)


@frozen(eq=False, repr=False)
class PasswordCall:
    """``POST /api/auth``: asks whether the password is right."""

    settings: Settings

    def stamp(self, time_ms: int) -> Request:
        """Return the request."""
        return _post(self.settings, "/api/auth", {"pass": self.settings.password or ""})


def _post(settings: Settings, path: str, payload: dict[str, Any], headers: Headers = (), *signs: str) -> Request:
    return Request(
        "POST",
        settings.base_url + path,
        merge_headers(settings.sent_headers, headers) if headers else settings.sent_headers,
        _to_json(payload).encode(),
        tuple(filter(None, (settings.password, settings.secret, *signs, *_credentials(settings.headers + headers)))),
    )


def _credentials(headers: Headers) -> Iterator[str]:
    """Yield what may be a secret of the user's headers: the values, and what stands behind "Bearer" or "Basic"."""
    for _, value in headers:
        yield from (part for part in (value, value.partition(" ")[2]) if len(part) >= _SHORTEST_CREDENTIAL)


def check_question(messages: Sequence[Message]) -> None:
    """Raise InvalidArgumentError where ``messages`` cannot be asked: there are none, or the last is not the user's."""
    if not messages:
        raise InvalidArgumentError("prompt", "must hold at least one message")
    if messages[-1].role != "user":
        raise InvalidArgumentError("prompt", f"its last message must be the user's, not the {messages[-1].role}'s")


def fold(newest_first: Iterable[Message], systems: Iterable[str], max_messages: int) -> tuple[Message, ...]:
    """Return a history as the wire can carry it.

    Neighbours of one role become one message, joined by a blank line; the newest ``max_messages`` of those are kept,
    from the first user message on; the system texts go in front of that one, as the wire has no system role. No more of
    the history is looked at than is sent.

    Args:
        newest_first: the history from its end, where the user's question is.
        systems: the conversation's system text, and those of the history's system messages, the oldest first.
        max_messages: how many messages are sent at most.
    """
    window: list[Message] = []  # as it comes: the newest first
    runs: dict[int, list[Message]] = {}  # the neighbours that become one, by its place in the window
    last = None
    for message in newest_first:
        role = message.role
        if role == last:
            runs.setdefault(len(window) - 1, [window[-1]]).append(message)
        elif role == "system":
            continue
        elif len(window) < max_messages:
            window.append(message)
            last = role
        else:
            break
    for place, run in runs.items():
        window[place] = _join(reversed(run))
    if last != "user":
        del window[-1]
    window.reverse()
    if texts := tuple(systems):
        window[0] = Message("user", "\n\n".join((*texts, window[0].content)))
    return tuple(window)


def _join(messages: Iterable[Message]) -> Message:
    first, *others = messages
    return Message(first.role, "\n\n".join((first.content, *(message.content for message in others))))
