"""What a request may say, and the row of the error table it meets when it says something else.

Pure functions of bytes, settings and the time of day. The order of the checks is the real server's, and a
client can see it: the history's last role, then the password, then the signature, and only then what the model
behind would refuse. A malformed shape is judged where the real server would stumble over it.
"""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias, cast

import attrs

from aichatfree_sdk.core.signing import generate_signature
from aichatfree_sdk.validation import check_encodable

if TYPE_CHECKING:
    from collections.abc import Mapping

JsonObject: TypeAlias = dict[str, object]

# A 2,000,000-character message was seen accepted (up to 8 MB of UTF-8, 24 MB when a client escapes it);
# the limit only keeps an endless upload from filling the memory.
MAX_BODY_BYTES = 64 * 1024 * 1024

BAD_HISTORY = "Invalid message history: The last message must be from user role."
BAD_PASSWORD = "Invalid password."  # noqa: S105 - the text of the refusal
BAD_SIGNATURE = "Invalid signature."
BAD_TURNS = "Please ensure that multiturn requests alternate between user and model."
TOO_LARGE = "Request body too large."


@attrs.frozen
class ChatMessage:
    """One message of the history a responder answers, as it was sent.

    Args:
        role: ``"user"`` or ``"model"``; the first and the last of a history are the user's.
        text: the joined text of the message's parts, never empty.

    Example:
        >>> from aichatfree_sdk.server import ChatMessage
        >>> ChatMessage("user", "Hello").text
        'Hello'
    """

    role: Literal["user", "model"]
    text: str


@attrs.frozen
class Site:
    """What a deployment asks of its clients; ``None`` or ``""`` means that it does not ask."""

    password: str | None = attrs.field(default=None, repr=False)
    secret: str = attrs.field(default="", repr=False)
    max_clock_skew: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.max_clock_skew is not None and not self.max_clock_skew >= 0:
            raise ValueError(f"max_clock_skew is a number of seconds, 0 or more, or None: {self.max_clock_skew!r}")
        check_encodable("secret", self.secret)

    def admits(self, password: object) -> bool:
        """Say whether the ``pass`` field is right; always, on a site without a password."""
        if not self.password:
            return True
        return isinstance(password, str) and _same(password, self.password)


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """The request earns an error status; ``body`` is what goes out with it."""

    def __init__(self, status: int, message: str | None = None, code: str | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.body = b"" if message is None else error_body(message, code)


def error_body(message: str, code: str | None = None) -> bytes:
    """Return ``{"error":{...}}`` the way the real server writes it: compact, the code first."""
    error = {"message": message} if code is None else {"code": code, "message": message}
    return _well_formed(json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":"))).encode()


def read_object(body: bytes) -> JsonObject:
    """Parse a request body, whatever its content type says, or raise Refused: 500 without a body."""
    try:
        # Bad UTF-8 becomes U+FFFD, as in the fetch standard's Request.json(); the signature then tells on it.
        # RecursionError: C code of json gives up on some 1000 nested brackets.
        value: object = json.loads(body.decode("utf-8-sig", "replace"), parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise Refused(500) from None
    if not isinstance(value, dict):
        raise Refused(500)
    return cast("JsonObject", value)


def read_history(request: JsonObject, site: Site, now_ms: int) -> tuple[ChatMessage, ...]:
    """Return the history of a request that a responder may answer, or raise Refused with the first fault."""
    messages = request.get("messages")
    history = cast("list[object]", messages) if isinstance(messages, list) else []
    if not history or _field(history[-1], "role") != "user":
        raise Refused(400, BAD_HISTORY)
    if not site.admits(request.get("pass")):
        raise Refused(401, BAD_PASSWORD)
    if not _signed(request, _text(history[-1]), site, now_ms):
        raise Refused(401, BAD_SIGNATURE)
    parsed: list[ChatMessage] = []
    for index, message in enumerate(history):
        text, role = _text(message), _field(message, "role")
        expected: Literal["user", "model"] = "model" if index % 2 else "user"
        if not text or role != expected:
            raise Refused(500, BAD_TURNS, "Error")
        parsed.append(ChatMessage(expected, text))
    return tuple(parsed)


def _signed(request: JsonObject, text: str, site: Site, now_ms: int) -> bool:
    time, sign = request.get("time"), request.get("sign")
    if not isinstance(time, int) or isinstance(time, bool) or not isinstance(sign, str):
        return False
    # Integers throughout: a `time` of 400 digits does not fit a float.
    if site.max_clock_skew is not None and abs(now_ms - time) > site.max_clock_skew * 1000:
        return False
    return _same(sign, generate_signature(time, text, site.secret))


def _text(message: object) -> str:
    parts = _field(message, "parts")
    if not isinstance(parts, list):
        raise Refused(500)
    texts = [_field(part, "text") for part in cast("list[object]", parts)]
    if not all(isinstance(text, str) for text in texts):
        raise Refused(500)
    return _well_formed("".join(cast("list[str]", texts)))


def _field(value: object, name: str) -> object:
    return cast("Mapping[str, object]", value).get(name) if isinstance(value, dict) else None


def _well_formed(text: str) -> str:
    # JSON may spell half a surrogate pair ("\ud83d"); JavaScript hashes and sends it as U+FFFD, and so do we.
    # Halves that meet when parts are joined make a whole character again, hence the way through UTF-16.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _same(given: str, right: str) -> bool:
    # Bytes, because compare_digest refuses text outside ASCII; surrogatepass, because JSON can spell anything.
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")
