"""What a response means before its body is text: how it is framed, and which error a refusal is.

The table is docs/explanation/protocol.md, "Errors". The server passes the words of the model's provider on inside a
500, with the provider's status in square brackets, except for a 400, whose marker it strips.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote, quote_plus

from attrs import field, frozen

from ..errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InvalidPasswordError,
    InvalidReplyError,
    InvalidSignatureError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    RedirectError,
    ServerError,
    UpstreamRefusedError,
)
from ..reply import EndedBy
from .retry import parse_http_date, parse_retry_after

# An error's body is a sentence, or the page of a CDN; more than this says nothing new.
MAX_ERROR_BYTES = 64 * 1024
_LONGEST_QUOTE = 300
_SHORTEST_BEGINNING = 4  # of a secret; fewer bytes at the end of a body would often be its own
# https://www.iana.org/assignments/http-parameters, "HTTP Content Coding Registry".
_ENCODINGS = frozenset({"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "x-gzip", "zstd"})
# How the provider's library marks its errors; a 400 arrives without the marker.
_PROVIDER_MARKER = "[GoogleGenerativeAI Error]"


_lower = lru_cache(maxsize=128)(str.lower)  # so that a thousand open streams share the names


def _lower_names(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((_lower(name), value) for name, value in headers)


@frozen
class ResponseHead:
    """The status line and the headers of a response.

    Args:
        status: the HTTP status.
        headers: names (any case) and values, in the order they came.
        http_version: ``"HTTP/1.1"``, ``"HTTP/2"``...

    Example:
        >>> from aichatfree_sdk.core.response import ResponseHead
        >>> ResponseHead(200, (("Content-Length", "15"),)).ended_by
        'length'
    """

    status: int
    headers: tuple[tuple[str, str], ...] = field(converter=_lower_names)
    http_version: str = "HTTP/1.1"

    def get(self, name: str) -> str | None:
        """Return the first header of that name (in lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def ended_by(self) -> EndedBy:
        """How the end of the body is marked (RFC 9112, 6.3); HTTP/2 marks it always, as chunked does."""
        if "chunked" in (self.get("transfer-encoding") or "").lower():
            return "chunked"
        if self.get("content-length") is not None:
            return "length"
        return "chunked" if self.http_version in ("HTTP/2", "HTTP/3") else "close"

    @property
    def content_encoding(self) -> str | None:
        """The compression of the body, or None where there is none."""
        encoding = (self.get("content-encoding") or "identity").strip().lower()
        if encoding in ("identity", ""):
            return None
        # What a server makes up may be an echo.
        return ", ".join(name if name in _ENCODINGS else "unknown" for name in re.split(r"\s*,\s*", encoding))


def refusal(
    head: ResponseHead, body: bytes, *, base_url: str, now: float, sensitive: Iterable[str] = ()
) -> APIStatusError:
    """Return the error that a response other than 2xx is.

    Args:
        head: its status and headers.
        body: its body, as far as it came.
        base_url: where the request went.
        now: our time, seconds since the Unix epoch.
        sensitive: strings that a server may echo and that must not be repeated.
    """
    code, words = _server_words(body)
    error_class, advice = _classify(head.status, code, words)
    secrets = _spellings(sensitive)
    words = _mask(words, secrets)
    quoted = _quotable(words)
    date = parse_http_date(head.get("date") or "")
    message = f"{base_url} answered {head.status}"
    message += f" ({quoted})" if quoted else ""
    error = error_class(
        f"{message}: {advice}",
        status=head.status,
        headers=[(_mask(name, secrets), _mask(value, secrets)) for name, value in head.headers],
        body=_mask_body(body, secrets)[:MAX_ERROR_BYTES],
        server_message=words,
        retry_after=parse_retry_after(head.get("retry-after") or "", now if date is None else date),
    )
    if isinstance(error, InvalidSignatureError):
        _add_clock_skew(error, None if date is None else date - now)
    elif isinstance(error, RedirectError):
        # A query or a user name in the target may be somebody's secret, and says little of where it points.
        target = re.sub(r"//[^/?#]*@", "//", _mask(head.get("location") or "nowhere", secrets))
        target = _quotable(re.split(r"[?#]", target)[0])
        error.args = (f"{message}: it points to {target}, which was not followed; set base_url to the right server",)
    return error


def parse_password_reply(text: str) -> bool:
    """Return whether the server takes the password, from its answer to the password check.

    Raises:
        InvalidReplyError: the text is not what an AIChatFree server answers.
    """
    code: object = _json_object(text).get("code")
    if type(code) is not int or code not in (0, -1):
        raise InvalidReplyError(
            "the server did not answer the password check as an AIChatFree server does: check the base URL"
        )
    return code == 0


def _server_words(body: bytes) -> tuple[str, str]:
    """Return the ``code`` and ``message`` of an error body; ``""`` for what is not there."""
    error = _to_object(_json_object(body).get("error"))
    code, message = error.get("code"), error.get("message")
    return (code if isinstance(code, str) else "", message if isinstance(message, str) else "")


def _json_object(data: str | bytes) -> dict[str, Any]:
    """Return the JSON object that ``data`` is, or an empty one."""
    try:
        return _to_object(json.loads(data))
    except (ValueError, RecursionError):
        return {}


def _to_object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _classify(status: int, code: str, words: str) -> tuple[type[APIStatusError], str]:
    if status == 500:
        return _classify_500(code, words)
    if status == 401:
        if "password" in words.lower():
            return InvalidPasswordError, "pass the site's password as password= or AICHATFREE_PASSWORD"
        if "signature" in words.lower():
            return InvalidSignatureError, "pass the deployment's key as secret= or AICHATFREE_SECRET"
        return AuthenticationError, "this server wants a password or key that it did not get"
    if 300 <= status < 400:
        return RedirectError, ""
    return _BY_STATUS.get(status) or (
        (ServerError, "the server failed; try again later")
        if status >= 500
        else (APIStatusError, "the server, or a proxy in front of it, refused the request")
    )


_BY_STATUS: dict[int, tuple[type[APIStatusError], str]] = {
    400: (BadRequestError, "the server does not accept these messages"),
    403: (APIStatusError, "access is forbidden, often by a firewall in front of the server"),
    404: (NotFoundError, "there is no AIChatFree server at this URL; check base_url or AICHATFREE_BASE_URL"),
    429: (RateLimitError, "too many requests; wait before the next one"),
    503: (OverloadedError, "the server is overloaded or down for the moment; try again later"),
}


def _classify_500(code: str, words: str) -> tuple[type[APIStatusError], str]:
    """Find the provider's own answer inside a 500 (docs/explanation/protocol.md, "Errors")."""
    if "[429 " in words:
        return RateLimitError, "the deployment's quota at the model's provider is used up for now; wait"
    if "[503 " in words or "model is overloaded" in words:
        return OverloadedError, "the model is overloaded; try again later"
    if "API key" in words or re.search(r"\[40[13] ", words):
        return ServerError, "the deployment has no valid key at the model's provider; only its owner can mend that"
    if "[400 " in words or (code == "Error" and words and _PROVIDER_MARKER not in words):
        return UpstreamRefusedError, "the model's provider refused this request; change the messages"
    if not words:
        return ServerError, "the server could not read the request, or failed; check that base_url is its address"
    return ServerError, "the server failed; try again later"


def _add_clock_skew(error: InvalidSignatureError, skew: float | None) -> None:
    error.clock_skew = skew
    if skew is None:
        return
    # A Date has whole seconds and the answer was under way: less than this is no news.
    told = "agrees with ours" if abs(skew) < 5 else f"is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours"
    error.args = (f"{error.args[0]} (the server's clock {told}; some servers allow 5 minutes)",)


def _quotable(text: str) -> str:
    """Return a server's words fit for our error text: short and printable."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."


def redact(text: str, sensitive: Iterable[str]) -> str:
    """Return ``text`` without the strings in ``sensitive``: a server may echo what it was sent, in its own spelling."""
    return _mask(text, _spellings(sensitive))


def _mask(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _mask_body(body: bytes, secrets: Iterable[str]) -> bytes:
    # Python takes any byte to a character and back in this way.
    masked = _mask(body.decode(errors="surrogateescape"), secrets).encode(errors="surrogateescape")
    # It may have broken off, or been cut, inside of a secret.
    end = min((_begun_at(masked, secret.encode()) for secret in secrets), default=len(masked))
    return masked if end == len(masked) else masked[:end] + b"***"


def _begun_at(data: bytes, secret: bytes) -> int:
    """Return where ``data`` ends but for a beginning of ``secret``, one that is long enough to be no chance."""
    start = max(0, len(data) - len(secret))
    while (start := data.find(secret[:_SHORTEST_BEGINNING], start)) >= 0:
        if secret.startswith(data[start:]):
            return start
        start += 1
    return len(data)


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Return the secrets in every form that an echo may have; longest first, as a secret may hold the password."""
    forms = {form for secret in secrets if secret for form in _spellings_of(secret)}
    in_headers = {form.encode().decode("latin-1") for form in forms if not form.isascii()}
    return sorted(forms | in_headers, key=len, reverse=True)


def _spellings_of(secret: str) -> set[str]:
    texts = {secret, *_in_json(secret)}
    texts |= {quoted for text in texts for quoted in _in_json(text)}  # a request's JSON, in a message's
    texts |= {text.replace("/", r"\/") for text in texts}  # PHP's JSON
    # Go's JSON, Ruby's, .NET's, which is in capitals.
    texts |= {_in_ascii(text, special) for text in texts for special in ("&<>", "&<>'", "\"&'+<>`")}
    texts |= {re.sub(r"\\u....", lambda code: "\\u" + code[0][2:].upper(), text) for text in texts}
    urls = {
        url
        for text in texts
        for url in (quote(text), quote(text, safe=""), quote(text, safe="!'()*"), quote_plus(text))
    }
    urls |= {re.sub("%..", lambda code: code[0].lower(), url) for url in urls}
    texts |= {repr(text.encode())[2:-1] for text in texts}  # a log of Python's
    import html  # few programs are refused, and it makes every start longer by a hundredth

    pages = {html.escape(text, quote=quotes) for text in texts for quotes in (True, False)}
    pages |= {page.replace("&#x27;", apostrophe) for page in pages for apostrophe in ("&#39;", "&#039;", "&apos;")}
    pages |= {page.replace("&quot;", "&#34;").replace("+", "&#43;") for page in pages}  # Go's templates
    return texts | urls | pages


def _in_ascii(text: str, special: str) -> str:
    return "".join(f"\\u{ord(character):04x}" if character in special else character for character in text)


def _in_json(text: str) -> tuple[str, str]:
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
