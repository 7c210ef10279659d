"""Every row of the error table of docs/explanation/protocol.md."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aichatfree_sdk as sdk
from aichatfree_sdk.core.response import MAX_ERROR_BYTES, ResponseHead, parse_password_reply, refusal

URL = "http://chat.example"


def body(message: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, **({"code": code} if code else {})}}).encode()


def refuse(
    status: int, data: bytes = b"", headers: tuple[tuple[str, str], ...] = (), **options: object
) -> sdk.APIStatusError:
    return refusal(ResponseHead(status, headers), data, base_url=URL, now=1_700_000_000, **options)  # type: ignore[arg-type]


GOOGLE = "[GoogleGenerativeAI Error]: Error fetching from  "
ROWS = [
    (400, body("Invalid message history: The last message must be from user role."), sdk.BadRequestError),
    (401, body("Invalid password."), sdk.InvalidPasswordError),
    (401, body("Invalid signature."), sdk.InvalidSignatureError),
    (401, b"", sdk.AuthenticationError),
    (404, b"", sdk.NotFoundError),
    (500, b"", sdk.ServerError),
    (500, body(f"{GOOGLE}[429 Too Many Requests] Quota exceeded for quota metric 'x'.", "Error"), sdk.RateLimitError),
    (
        500,
        body(f"{GOOGLE}[429 Too Many Requests] Resource has been exhausted (e.g. check quota).", "Error"),
        sdk.RateLimitError,
    ),
    (
        500,
        body(f"{GOOGLE}[503 Service Unavailable] The model is overloaded. Please try again later.", "Error"),
        sdk.OverloadedError,
    ),
    (
        500,
        body("Please ensure that multiturn requests alternate between user and model.", "Error"),
        sdk.UpstreamRefusedError,
    ),
    (500, body(f"{GOOGLE}[400 Bad Request] no", "Error"), sdk.UpstreamRefusedError),
    (500, body("API key not valid. Please pass a valid API key.", "Error"), sdk.ServerError),
    (500, body(f"{GOOGLE}[403 Forbidden] no", "Error"), sdk.ServerError),
    (500, body(f"{GOOGLE}[500 Internal Server Error] try later", "Error"), sdk.ServerError),
    (500, body("fetch failed", "TypeError"), sdk.ServerError),
    (429, b"<html>slow down</html>", sdk.RateLimitError),
    (403, b"<html>", sdk.APIStatusError),
    (418, b"", sdk.APIStatusError),
    (408, b"", sdk.APIStatusError),
    (502, b"<html>", sdk.ServerError),
    (503, b"<html>", sdk.OverloadedError),
    (504, b"<html>", sdk.ServerError),
    *((status, b"<html>", sdk.ServerError) for status in range(520, 525)),
    (301, b"", sdk.RedirectError),
    (304, b"", sdk.RedirectError),
]


@pytest.mark.parametrize(("status", "data", "expected"), ROWS)
def test_the_row_is_its_error(status: int, data: bytes, expected: type[sdk.APIStatusError]) -> None:
    error = refuse(status, data, (("X-Id", "7"),))
    assert type(error) is expected
    assert (error.status, error.body, error.headers) == (status, data, (("x-id", "7"),))
    assert str(error).startswith(f"{URL} answered {status}")
    assert len(str(error)) > len(f"{URL} answered {status}") + 10


def test_the_server_s_words_are_quoted_and_kept() -> None:
    error = refuse(400, body("No."))
    assert error.server_message == "No."
    assert "(No.)" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"error": 7}',
        b'{"error": {"message": 7, "code": []}}',
        b"\xff\xfe",
        b"{" * 5000,
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("status", [400, 401, 500])
def test_an_error_body_of_any_shape_is_an_error_without_words(status: int, data: bytes) -> None:
    assert refuse(status, data).server_message == ""


JSON_VALUES = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "code"]), inner),
)


@given(st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()), st.integers(300, 599))
def test_no_error_body_makes_it_raise(data: bytes, status: int) -> None:
    assert isinstance(refuse(status, data), sdk.APIStatusError)


def test_words_are_quoted_short_and_printable() -> None:
    error = refuse(400, body("\x1b[31m" + "x" * 5000 + "\u202e"))
    assert len(str(error)) < 500
    assert str(error).isprintable()


def test_a_server_that_echoes_our_secrets_does_not_get_them_repeated() -> None:
    error = refuse(
        401,
        body("Invalid password. got canary and canary-long"),
        (("X-Echo", "canary"), ("Location", "http://h/canary")),
        sensitive=("canary", "canary-long"),
    )
    assert "canary" not in f"{error} {error.__dict__}"
    assert "got *** and ***" in error.server_message


def test_the_body_is_kept_up_to_its_limit() -> None:
    assert len(refuse(400, b"x" * (MAX_ERROR_BYTES + 1)).body) == MAX_ERROR_BYTES


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((("Retry-After", "7"),), 7),
        ((("Retry-After", "Tue, 14 Nov 2023 22:13:30 GMT"),), 10),
        ((("Retry-After", "Tue, 14 Nov 2023 22:13:30 GMT"), ("Date", "Tue, 14 Nov 2023 22:13:00 GMT")), 30),
        ((), None),
    ],
)
def test_retry_after_is_read_on_the_server_s_clock(
    headers: tuple[tuple[str, str], ...], expected: float | None
) -> None:
    assert refuse(429, b"", headers).retry_after == expected


@pytest.mark.parametrize(
    ("date", "skew", "told"),
    [
        ("Tue, 14 Nov 2023 22:20:00 GMT", 400, "400 s ahead of ours"),
        ("Tue, 14 Nov 2023 22:10:00 GMT", -200, "200 s behind ours"),
        ("Tue, 14 Nov 2023 22:13:21 GMT", 1, "agrees with ours"),
        ("", None, "secret="),
    ],
)
def test_a_refused_signature_tells_how_far_the_clocks_are_apart(date: str, skew: float | None, told: str) -> None:
    error = refuse(401, body("Invalid signature."), (("date", date),))
    assert isinstance(error, sdk.InvalidSignatureError)
    assert error.clock_skew == skew
    assert told in str(error)


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://other.example/login?token=canary#canary", "https://other.example/login"),
        ("https://canary:canary@other.example/", "https://other.example/"),
        (None, "nowhere"),
    ],
)
def test_a_redirect_names_where_it_pointed_and_no_secret_of_it(location: str | None, named: str) -> None:
    error = refuse(307, b"", (("Location", location),) if location else ())
    assert f"it points to {named}, which was not followed" in str(error)
    assert "canary" not in str(error)


@pytest.mark.parametrize(
    ("head", "ended_by"),
    [
        (ResponseHead(200, (("Transfer-Encoding", "gzip, Chunked"), ("Content-Length", "3"))), "chunked"),
        (ResponseHead(200, (("Content-Length", "3"),)), "length"),
        (ResponseHead(200, ()), "close"),
        (ResponseHead(200, (), "HTTP/1.0"), "close"),
        (ResponseHead(200, (), "HTTP/2"), "chunked"),
    ],
)
def test_how_the_end_is_marked(head: ResponseHead, ended_by: str) -> None:
    assert head.ended_by == ended_by


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (None, None),
        ("", None),
        (" Identity ", None),
        ("GZIP", "gzip"),
        ("br , gzip", "br, gzip"),
        ("canary,zstd", "unknown, zstd"),
    ],
)
def test_the_compression_of_a_body(value: str | None, encoding: str | None) -> None:
    assert ResponseHead(200, (("Content-Encoding", value),) if value is not None else ()).content_encoding == encoding


def test_the_password_reply() -> None:
    assert parse_password_reply('{"code": 0}') is True
    assert parse_password_reply('{"code": -1}') is False


@pytest.mark.parametrize("text", ["", "<html>", "[]", "{}", '{"code": 7}', '{"code": "0"}', "[" * 100_000])
def test_a_password_reply_of_another_server(text: str) -> None:
    with pytest.raises(sdk.InvalidReplyError, match="check the base URL"):
        parse_password_reply(text)


@pytest.mark.parametrize(
    ("echo", "shown"),
    [
        (b"you sent open sesame", b"you sent ***"),
        (b"you sent open ses", b"you sent ***"),
        (b"open ses, open sesam", b"open ses, ***"),
        (b"you sent o", b"you sent o"),
    ],
    ids=["whole", "cut", "cut at its end only", "too short to tell"],
)
def test_a_body_that_breaks_off_inside_of_a_secret_does_not_show_its_beginning(echo: bytes, shown: bytes) -> None:
    assert refuse(403, echo, sensitive=("open sesame",)).body == shown
