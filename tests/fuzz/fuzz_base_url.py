"""Base URLs: each is refused, without being repeated, or is one that requests can be built from and sent to its host.

An input is whether "http://" comes before, and the URL, in which byte 1 stands for a secret and byte 2 for a long text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
from fuzz_input import Source

from aichatfree_sdk import InvalidArgumentError, Message
from aichatfree_sdk.config import Settings, check_proxy, to_base_url
from aichatfree_sdk.core.request import AnswerCall

CANARY = "canary"
QUESTION = (Message("user", "q"),)
VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")

MAX_LEN = 80
TOKENS = (
    *(b"http://", b"https://", b"HTTP://", b"://", b"//", b"/", b"\\", b"@", b":", b"u:\x01@", b"?", b"#"),
    *(b"%", b"%25", b"%2F", b":80", b":0", b":65536", b"127.0.0.1", b"999.1.1.1", b"0x7f"),
    *(b"[::1]", b"[", b"]", b"[v1.a:b]", b"[v1.a]", b"fe80::1%25eth0"),
    *(b"xn--", b"xn--80a0bn", b".", b"..", b"-", b"_", b"\xe2\x80\x8d", b"\xf0\x9f\x98\x80"),
    *(text.encode() for text in ("ß", "ς", "чат.рф", "❤", "İ", "ｅ", "。", "e\u0301")),
)
SEEDS = {
    "the public site": b"\0https://aichatfree.info",
    "a port and a path": b"\0HTTPS://H.Example:8443/a/b//",
    "IPv6": b"\0http://[::1]:80/",
    "IPv6 of a link": b"\x01[fe80::1%25eth0]/",
    "a zone that is no name": b'\x01[::1%"]',
    "IPv4": b"\x01127.0.0.1",
    "another script": "\x01чат.рф/чат".encode(),
    "punycode": b"\x01xn--80a0bn.xn--p1ai",
    "percent": b"\x01h/a%20b%zz/../%2e",
    "a password": b"\x01u:\x01@h",
    "a password, and no port": b"\x01u:\x01@h:\x01",
    "a password in brackets": b"\x01[\x01]@h",
    "a user": b"\x01u@h",
    "a query": b"\x01h/?\x01",
    "a fragment": b"\x01h/#\x01",
    "no scheme": b"\0h",
    "another scheme": b"\0ftp://\x01",
    "an empty label": b"\x01a..b",
    "a control character": b"\x01\x1b\x01",
    "a lone surrogate": b"\x01\xff\x01",
}
FINDINGS = {
    "four numbers that are no address": b"\x01999.1.1.1",
    "no punycode": b"\x01xn--a",
    "punycode of what IDNA 2008 refuses": b"\x01xn--i-7iq.ws",
    "an emoji": "\x01i❤.ws".encode(),
    "an underscore in another script": "\x01чат_а.рф".encode(),
    "a letter that IDNA 2003 replaces": "\x01faß.de".encode(),
    "wide letters": "\x01ｅx.com".encode(),
    "an address of a future version": b"\x01[v1.a:b]",
    "an address of a future version without a colon": b"\x01[v1.a]",
    "text around the brackets": b"\x01-8[::1]az",
    "capitals in an address": b"\x01[::1A]:8",
    "capitals in a zone": b"\x01[::%2F]:8",
    "longer than httpx takes": b"\x01h/" + b"a" * 70_000,
    "long once it is quoted": b"\x01h/\x02",
}


def target(data: bytes) -> None:
    source = Source(data)
    start = "http://" if source.byte() % 2 else ""
    url = source.rest().decode("utf-8", "surrogateescape")
    url = start + url.replace("\x01", CANARY).replace("\x02", "é" * 2000, 1)
    plain = accepted(to_base_url, url)
    if plain is not None:
        check_plain(url, plain)
    accepted(check_proxy, url)


def accepted(check: Callable[[object], str | None], url: str) -> str | None:
    """Return what a check makes of the URL, or None where it refuses it as it should."""
    try:
        return check(url)
    except InvalidArgumentError as error:
        fault: Exception = error
    assert CANARY not in str(fault)
    # They would be printed, too.
    assert (fault.__cause__, fault.__context__) == (None, None)
    return None


def check_plain(url: str, plain: str) -> None:
    assert "@" not in urlsplit(url).netloc
    assert not {"?", "#"} & set(url)
    assert VISIBLE_ASCII.fullmatch(plain)
    assert not plain.endswith("/")
    assert to_base_url(plain) == plain
    call = AnswerCall(Settings(base_url=plain), QUESTION).stamp(0)
    request = httpx.Request(call.method, call.url, headers=list(call.headers), content=call.body)
    parts = urlsplit(plain)
    assert request.url.scheme == parts.scheme
    assert parts.scheme in ("http", "https")
    assert request.url.raw_host.decode() == parts.hostname
    assert request.url.host
    default = 80 if parts.scheme == "http" else 443
    assert (request.url.port or default) == (parts.port or default)
    assert (request.url.userinfo, request.url.query, request.url.fragment) == (b"", b"", "")
    assert request.url.raw_path.endswith(b"/api/generate")
    assert all(VISIBLE_ASCII.fullmatch(request.headers[name]) for name in ("host", "referer", "origin"))
    # What another reader makes of the URL as it was given: a password must not go to a host that only we see in it.
    assert httpx.URL(url).raw_host.decode().lower() == parts.hostname.lower()  # a zone has its capitals still
