"""What a client is told once: where the deployment is, what it wants, and how patient to be."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

import attrs
from attrs import evolve, field, frozen
from attrs.validators import optional

from ._version import __version__
from .core.decoder import FAILURE_TRAILER, MAX_REPLY_BYTES
from .core.retry import RetryPolicy
from .errors import InvalidArgumentError
from .validation import check_count, check_encodable, check_seconds, check_text

if TYPE_CHECKING:
    from attrs import Attribute

DEFAULT_BASE_URL = "https://aichatfree.info"
# What the public site is known to serve; the wire has no field for it.
DEFAULT_MODEL = "gemini-1.5-pro"

# RFC 9110: a token; and visible ASCII with inner spaces and tabs. h11 would refuse the rest after the pool was asked.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
# RFC 1123, with the underscores that people use all the same, and the dot of the root at the end.
_HOST = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_LONGEST_HOST = 253
_FOUR_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
# An address of IP version 6, with the name of the network interface that a link-local one needs, and a port.
_IN_BRACKETS = re.compile(r"\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~-]+)?\](?::[0-9]*)?")
# What every server should take (RFC 9110, 4.1); httpx raises above 65536.
_LONGEST_URL = 8000
# They say where the body ends, which the HTTP library alone knows.
_FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding"})


def _check_clock(_: object, attribute: Attribute[Any], value: Any) -> None:
    check_seconds(f"timeout.{attribute.name}", value, optional=True, positive=True)


@frozen
class Timeout:
    """How long to wait, in seconds; None waits for ever.

    Args:
        connect: for a free connection of the pool, and again for making a new one.
        first_text: from the start of an attempt to its first text; a model may think long before its first word.
        idle: between two pieces of the answer once it flows.
        total: for the whole call, retries and the waits between them included.

    Raises:
        InvalidArgumentError: a value is not above 0, or is longer than a year.

    Example:
        >>> Client(timeout=Timeout(first_text=600)).settings.timeout
        Timeout(connect=10.0, first_text=600, idle=60.0, total=None)
    """

    connect: float | None = field(default=10.0, validator=_check_clock)
    first_text: float | None = field(default=120.0, validator=_check_clock)
    idle: float | None = field(default=60.0, validator=_check_clock)
    total: float | None = field(default=None, validator=_check_clock)


def to_timeout(value: object, base: Timeout) -> Timeout:
    """Return ``timeout=`` as a `Timeout`: a number is the total, with the other clocks as in ``base``."""
    if isinstance(value, Timeout):
        return value
    if value is None:
        return base
    if isinstance(value, (int, float)):
        return evolve(base, total=check_seconds("timeout", value, positive=True))
    raise InvalidArgumentError("timeout", f"must be a Timeout or a number of seconds for the whole call, not {value!r}")


def to_retry(value: object, base: RetryPolicy) -> RetryPolicy:
    """Return ``retry=`` as a `RetryPolicy`; None is ``base``."""
    if value is None:
        return base
    if isinstance(value, RetryPolicy):
        return value
    raise InvalidArgumentError("retry", f"must be a RetryPolicy, not {value!r}; RetryPolicy(max_retries=0) for none")


def to_headers(value: object) -> tuple[tuple[str, str], ...]:
    """Return ``headers=`` as pairs, checked.

    Raises:
        InvalidArgumentError: a name or a value that no HTTP message can carry. The text leaves the value out: it may
            be a secret.
    """
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise InvalidArgumentError("headers", f"must be a mapping of names to values, not {type(value).__name__}")
    return tuple(_to_header(name, content) for name, content in cast("Mapping[object, object]", value).items())


def _to_header(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise InvalidArgumentError("headers", f"{name!r} is no header name: letters, digits and '-' are allowed")
    if name.lower() in _FRAMING_HEADERS:
        raise InvalidArgumentError("headers", f"{name} cannot be set: it follows from the body")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        raise InvalidArgumentError(
            "headers",
            f"the value of {name} must be a str of visible ASCII, without a line break and without spaces at its ends",
        )
    return name, value


def merge_headers(*layers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return the layers as one set of headers; a later layer beats an earlier one, whatever the case of the names."""
    merged = {name.lower(): (name, value) for layer in layers for name, value in layer}
    return tuple(merged.values())


def to_base_url(url: object) -> str:
    """Return a base URL in its plain form: ASCII, without a slash at the end.

    Raises:
        InvalidArgumentError: it has no http(s) scheme or no host, or has a query, a fragment or a user name.
    """
    if not isinstance(url, str):
        raise InvalidArgumentError("base_url", f"must be a str, not {type(url).__name__}")
    # The URL may hold a password ("user:pass@"), so no text here repeats it.
    if len(url) > _LONGEST_URL:
        raise InvalidArgumentError("base_url", f"must not be longer than {_LONGEST_URL} characters")
    if url.strip() != url or any(character.isspace() or not character.isprintable() for character in url):
        raise InvalidArgumentError("base_url", "must not hold spaces or control characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise InvalidArgumentError("base_url", "must be like https://chat.example.org: an http(s) scheme and a host")
    if "@" in parts.netloc:
        raise InvalidArgumentError("base_url", "must not hold a user name or password; use headers= for those")
    if "?" in url or "#" in url:
        raise InvalidArgumentError("base_url", "must not have a query or a fragment")
    netloc = _to_ascii_host(host, parts.netloc)
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._").rstrip("/")
    plain = f"{parts.scheme}://{netloc}{f':{port}' if port is not None else ''}{path}"
    if len(plain) > _LONGEST_URL:
        raise InvalidArgumentError("base_url", f"must not be longer than {_LONGEST_URL} characters in ASCII")
    return plain


def check_proxy(url: object) -> None:
    """Raise InvalidArgumentError where ``url`` is no proxy's; the text leaves the URL out: it may hold a password."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
        is_url = parts.scheme in ("http", "https", "socks5", "socks5h") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise InvalidArgumentError(
            "proxy", "must be an http, https or socks5 URL such as http://proxy.example.org:3128"
        )


def _to_ascii_host(host: str, netloc: str) -> str:
    """Return the host of ``netloc`` as DNS and HTTP have it.

    Its name follows IDNA 2008, as in browsers and httpx: Python's own codec is IDNA 2003, which takes faß.de for
    fass.de, and that is somebody else's.
    """
    import idna

    ascii_host = ""
    try:
        if "[" in netloc:
            # urlsplit overlooks what stands around the brackets.
            ipaddress.IPv6Address(host if _IN_BRACKETS.fullmatch(netloc) else "")
            return f"[{host}]"
        if len(host) <= _LONGEST_HOST:
            ascii_host = host if host.isascii() else idna.encode(host).decode()
        if ascii_host.startswith("xn--"):
            idna.decode(ascii_host)  # httpx will, and lets idna's exception out
        if _FOUR_NUMBERS.fullmatch(ascii_host):
            ipaddress.IPv4Address(ascii_host)
    except ValueError:  # idna's errors are such, too
        ascii_host = ""
    if not _HOST.fullmatch(ascii_host) or len(ascii_host) > _LONGEST_HOST:
        raise InvalidArgumentError("base_url", "its host is no host name or IP address")
    return ascii_host


def _check_text(_: object, attribute: Attribute[Any], value: Any) -> None:
    check_text(attribute.name, value)


def _check_secret(_: object, attribute: Attribute[Any], value: Any) -> None:
    check_encodable(attribute.name, value)


def _check_trailer(_: object, attribute: Attribute[Any], value: Any) -> None:
    if value is not None:
        check_text(attribute.name, value)


def _check_size(_: object, attribute: Attribute[int], value: object) -> None:
    check_count(attribute.name, value, minimum=1)


def _mask(value: object) -> str:
    return "None" if value is None else "'***'"


def _names_only(headers: tuple[tuple[str, str], ...]) -> str:
    return repr([name for name, _ in headers])


@frozen
class Settings:
    """Everything a client is told about its deployment; its repr masks the secrets.

    Args:
        base_url: where the deployment is; kept without a slash at the end.
        password: the site password; None is none.
        secret: the key that requests are signed with; ``""`` as on the public site.
        model: what the deployment serves.
        timeout: how long to wait.
        retry: which failures are tried again, and how.
        headers: headers of every request, as pairs; they beat the SDK's own.
        failure_trailer: the chunk that ends a failed answer; None takes every chunk as text.
        max_reply_bytes: the longest answer taken, in bytes.

    Raises:
        InvalidArgumentError: a value is not allowed.

    Example:
        >>> Settings(password="open sesame")
        Settings(base_url='https://aichatfree.info', password='***', secret='***', model='gemini-1.5-pro', ...)
    """

    base_url: str = field(default=DEFAULT_BASE_URL, converter=to_base_url)
    password: str | None = field(default=None, validator=optional(_check_secret), repr=_mask)
    secret: str = field(default="", validator=_check_secret, repr=_mask)
    model: str = field(default=DEFAULT_MODEL, validator=_check_text)
    timeout: Timeout = field(factory=Timeout)
    retry: RetryPolicy = field(factory=RetryPolicy)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=_names_only)
    failure_trailer: str | None = field(default=FAILURE_TRAILER, validator=_check_trailer)
    max_reply_bytes: int = field(default=MAX_REPLY_BYTES, validator=_check_size)

    @classmethod
    def create(
        cls, base_url: str | None = None, *, password: str | None = None, secret: str | None = None, **others: Any
    ) -> Settings:
        """Return the settings of a new client: arguments beat the environment, which beats the defaults.

        Args:
            base_url: else AICHATFREE_BASE_URL.
            password: else AICHATFREE_PASSWORD.
            secret: else AICHATFREE_SECRET.
            others: what `change` takes besides.

        Raises:
            InvalidArgumentError: an option is unknown, or its value, or a variable's, is not allowed.

        Example:
            >>> Settings.create("http://127.0.0.1:8000/").base_url
            'http://127.0.0.1:8000'
        """
        named = {"base_url": base_url, "password": password, "secret": secret}
        given = {name: value for name, value in named.items() if value is not None}
        found = {name: os.environ.get(f"AICHATFREE_{name.upper()}") for name in named.keys() - given.keys()}
        # An empty variable is how shells and compose files spell "not set".
        environment = {name: value for name, value in found.items() if value}
        try:
            settings = cls().change(**environment)
        except InvalidArgumentError as error:
            argument, problem = error.argument, str(error).partition(": ")[2]
        else:
            return settings.change(**given, **others)
        raise InvalidArgumentError(argument, f"(of AICHATFREE_{argument.upper()}) {problem}")

    def change(self, **changes: Any) -> Settings:
        """Return these settings with some of them changed.

        Args:
            changes: any of the attributes, in what spelling `Client` takes them.

        Raises:
            InvalidArgumentError: an option is unknown, or its value is not allowed.

        Example:
            >>> Settings().change(timeout=30).timeout.total
            30.0
        """
        names = {attribute.name for attribute in attrs.fields(Settings)}
        for unknown in sorted(changes.keys() - names):
            raise InvalidArgumentError(
                unknown, f"is no option; those that can be changed are {', '.join(sorted(names))}"
            )
        if "headers" in changes:
            changes["headers"] = to_headers(changes["headers"])
        if "timeout" in changes:
            changes["timeout"] = to_timeout(changes["timeout"], self.timeout)
        if "retry" in changes:
            changes["retry"] = to_retry(changes["retry"], self.retry)
        return evolve(self, **changes)

    @cached_property
    def sent_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of every request: ``headers``, over those that are sent without being asked for."""
        origin = "/".join(self.base_url.split("/", 3)[:3])
        defaults = (
            ("User-Agent", f"aichatfree-sdk/{__version__}"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            ("Referer", f"{self.base_url}/"),
            ("Origin", origin),
            # As the site's own page says; servers parse the body as JSON whatever it is.
            ("Content-Type", "text/plain;charset=UTF-8"),
        )
        return merge_headers(defaults, self.headers)


def configure_logging() -> None:
    """Send this SDK's log to stderr at the level AICHATFREE_LOG names, if it names one; the root logger stays alone.

    Raises:
        InvalidArgumentError: the variable names no level.
    """
    level = os.environ.get("AICHATFREE_LOG")
    if not level:
        return
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise InvalidArgumentError("AICHATFREE_LOG", f"must be debug, info, warning, error or critical, not {level!r}")
    logger = logging.getLogger("aichatfree_sdk")
    logger.setLevel(level.upper())
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
