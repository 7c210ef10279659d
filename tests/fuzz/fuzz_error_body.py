"""Refusals: any status, headers and body are one error, which says so in a line and repeats no secret.

An input is the status, then lines of headers up to an empty one, then the body. `ECHOES` stand in it for our
secrets as servers write them.
"""

from __future__ import annotations

import json
import math
import pickle
import re
from urllib.parse import urlsplit

from fuzz_input import Source

from aichatfree_sdk import APIStatusError, InvalidReplyError, InvalidSignatureError, RedirectError
from aichatfree_sdk.core.response import MAX_ERROR_BYTES, ResponseHead, parse_password_reply, refusal

URL = "http://chat.example"
NOW = 1_700_000_000
# What servers make of a secret when they quote it, written out rather than computed.
PASSWORD, KEY = "pw\"ö r&d's!", "k/<e>y+7"
SPELLINGS = {
    PASSWORD: (
        PASSWORD,  # as it is
        r"""pw\"ö r&d's!""",  # JSON
        r"""pw\"\u00f6 r&d's!""",  # JSON in ASCII
        r"""pw"\xc3\xb6 r&d\'s!""",  # the repr of bytes
        "pw%22%C3%B6%20r%26d%27s%21",  # a URL
        "pw%22%c3%b6%20r%26d%27s%21",  # a URL of .NET's
        "pw%22%C3%B6%20r%26d's!",  # a URL of JavaScript's
        "pw%22%C3%B6+r%26d%27s%21",  # a form
        "pw&quot;ö r&amp;d&#x27;s!",  # HTML
        "pw&quot;ö r&amp;d&#039;s!",  # PHP's HTML
        "pw\"ö r&amp;d's!",  # the text of an HTML element
        "pw\\&quot;ö r&amp;d&#39;s!",  # JSON in HTML
        PASSWORD.encode().decode("latin-1"),  # UTF-8 in a header
    ),
    KEY: (
        KEY,
        r"k\/<e>y+7",  # PHP's JSON
        "k%2F%3Ce%3Ey%2B7",
        "k/&lt;e&gt;y+7",
    ),
}
# Two bytes of an input stand for one of them.
ECHOES = {
    b"\x01%c" % (ord("a") + number): (secret, spelling.encode())
    for number, (secret, spelling) in enumerate(
        (secret, spelling) for secret, spellings in SPELLINGS.items() for spelling in spellings
    )
}
ECHO = re.compile(rb"\x01[a-q]")
# Whoever keeps a secret in a redirect's target has it nowhere else.
FOREIGN = "f0reign"

MAX_LEN = 160
TOKENS = (
    *ECHOES,
    *(b"location: ", b"retry-after: ", b"date: ", b"Tue, 14 Nov 2023 22:13:30 GMT", b"http://", FOREIGN.encode()),
    *(b'{"error":{"message":"', b'"code":"Error"', b'","', b'"}}', b"\\u", b"\\ud83d", b"\\u001b", b'{"code":0}'),
    *(b"[429 ", b"[503 ", b"[400 ", b"[403 ", b"API key", b"password", b"signature", b"[GoogleGenerativeAI Error]"),
)
STATUSES = (300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 408, 413, 418, 425, 429, *range(500, 505), 520, 524, 599)


def case(status: int, body: bytes, *headers: bytes) -> bytes:
    return b"%c%b\n\n%b" % (STATUSES.index(status), b"\n".join(headers), body)


SEEDS = {
    "a sentence": case(400, b'{"error":{"message":"Invalid message history."}}'),
    "a wrong password, echoed": case(401, b'{"error":{"message":"Invalid password. \x01b"}}', b"x-echo: \x01a"),
    "a wrong signature": case(
        401, b'{"error":{"message":"Invalid signature."}}', b"date: Tue, 14 Nov 2023 22:20:00 GMT"
    ),
    "the provider's words": case(
        500, b'{"error":{"code":"Error","message":"[GoogleGenerativeAI Error]: [429 No] \\u001b"}}'
    ),
    "the page of a CDN": case(503, b"<html>\x01i \xff\xfe \x1b[31m</html>", b"retry-after: 7"),
    "a redirect": case(307, b"", b"location: https://u:f0reign@h.example/a\x01e?t=f0reign#f0reign"),
    "an answer to the password check": case(500, b'{"code":-1}', b"retry-after: Tue, 14 Nov 2023 22:13:30 GMT"),
    "another code": case(500, b'{"code":false}'),
    "no object": case(500, b'[{"error":NaN}]'),
    "UTF-16": case(400, '{"error":{"message":"No."}}'.encode("utf-16")),
    "all spellings": case(400, b"".join(ECHOES), b"x-echo: " + b" ".join(ECHOES)),
}
FINDINGS = {
    f"a secret as {spelling!a}": case(400, b'{"error":{"message":"%b"}}' % code, b"x-echo: " + code)
    for code, (_, spelling) in ECHOES.items()
}


def target(data: bytes) -> None:
    source = Source(data)
    status = STATUSES[source.byte() % len(STATUSES)]
    rest = source.rest()
    head, _, body = rest.partition(b"\n\n")
    pairs = [line.partition(b": ") for line in head.split(b"\n")]
    # A value has no line break, whatever it echoes; the transport decodes it as Latin-1.
    headers = [
        (name.decode("latin-1"), echoed(value).replace(b"\n", b" ").decode("latin-1")) for name, _, value in pairs
    ]
    # To look for one in all its spellings is most of the work.
    sensitive = {ECHOES[echo][0] for echo in ECHO.findall(rest)}
    check(ResponseHead(status, headers), echoed(body), sensitive)


def echoed(text: bytes) -> bytes:
    return ECHO.sub(lambda match: ECHOES[match[0]][1], text)


def check(head: ResponseHead, body: bytes, sensitive: set[str]) -> None:
    error = refusal(head, body, base_url=URL, now=NOW, sensitive=sensitive)
    text = str(error)
    assert isinstance(error, APIStatusError)
    assert isinstance(error, RedirectError) == (head.status < 400)
    assert text.startswith(f"{URL} answered {head.status}")
    assert text.isprintable()
    assert len(text) < 1000
    assert len(error.body) <= MAX_ERROR_BYTES
    assert error.retry_after is None or (math.isfinite(error.retry_after) and error.retry_after >= 0)
    assert not isinstance(error, InvalidSignatureError) or error.clock_skew is None or math.isfinite(error.clock_skew)
    check_secrets(error, sensitive)
    check_target(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args, again.__dict__) == (type(error), error.args, error.__dict__)
    check_password_reply(body.decode("utf-8", "replace"))


def check_secrets(error: APIStatusError, sensitive: set[str]) -> None:
    values = [value for _, value in error.headers]
    told = "\0".join([str(error), error.server_message, *values, error.body.decode("utf-8", "surrogateescape")])
    assert [spelling for secret in sensitive for spelling in SPELLINGS[secret] if spelling in told] == []


def check_target(error: APIStatusError) -> None:
    try:
        parts = urlsplit(dict(reversed(error.headers)).get("location", ""))
    except ValueError:
        return
    shown = parts.scheme + parts.netloc.rpartition("@")[2] + parts.path + error.server_message
    assert FOREIGN in shown or FOREIGN not in str(error)


def check_password_reply(text: str) -> None:
    try:
        right = parse_password_reply(text)
    except InvalidReplyError:
        pass  # its text is always the same
    else:
        code = json.loads(text)["code"]
        assert (type(code), code) == (int, 0 if right else -1)
