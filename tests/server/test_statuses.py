"""The same rows over a real socket, and what surrounds them: routes, headers, big bodies, the password check."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aichatfree_sdk.server.wire import MAX_BODY_BYTES
from aichatfree_sdk.testing import LocalServer

Signed = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(password="open sesame", secret="s3cr3t", max_clock_skew=300) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        yield client


@pytest.fixture
def good(signed: Signed) -> Signed:
    def build(text: str = "Hello", **changes: Any) -> dict[str, Any]:
        now = time.time_ns() // 1_000_000
        return signed(text, **{"secret": "s3cr3t", "time": now, "pass": "open sesame", **changes})

    return build


def outcome(response: httpx.Response) -> tuple[int, str | None, str]:
    return response.status_code, response.headers.get("content-type"), response.text


TEXT = "text/plain; charset=utf-8"
MODEL = [{"role": "model", "parts": [{"text": "Hello"}]}]


@pytest.mark.parametrize(
    ("changes", "status", "body"),
    [
        ({}, 200, "You said: Hello"),
        (
            {"messages": MODEL},
            400,
            '{"error":{"message":"Invalid message history: The last message must be from user role."}}',
        ),
        ({"pass": None}, 401, '{"error":{"message":"Invalid password."}}'),
        ({"secret": ""}, 401, '{"error":{"message":"Invalid signature."}}'),
        ({"time": 1_700_000_000_000}, 401, '{"error":{"message":"Invalid signature."}}'),
        (
            {"text": ""},
            500,
            (
                '{"error":{"code":"Error","message":'
                '"Please ensure that multiturn requests alternate between user and model."}}'
            ),
        ),
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "application/json", "image/png", None])
def test_each_row_whatever_the_content_type(
    client: httpx.Client, good: Signed, changes: dict[str, Any], status: int, body: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = client.post("/api/generate", content=json.dumps(good(**changes)), headers=headers)
    assert outcome(response) == (status, TEXT, body)


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b"\xff"])
@pytest.mark.parametrize("path", ["/api/generate", "/api/auth"])
def test_an_unreadable_body(client: httpx.Client, path: str, body: bytes) -> None:
    assert outcome(client.post(path, content=body)) == (500, None, "")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/"),
        ("GET", "/api/generate"),
        ("PUT", "/api/generate"),
        ("OPTIONS", "/api/generate"),
        ("POST", "/api/generate/"),
        ("GET", "/api/auth"),
        ("POST", "/api/nothing"),
        ("GET", "/docs"),
    ],
)
def test_everything_else_is_404_and_empty(client: httpx.Client, method: str, path: str) -> None:
    assert outcome(client.request(method, path)) == (404, None, "")


@pytest.mark.parametrize(
    ("given", "code"), [("open sesame", 0), ("wrong", -1), (None, -1), ("", -1), (5, -1), ("\ud800", -1)]
)
def test_the_password_check(client: httpx.Client, given: object, code: int) -> None:
    response = client.post("/api/auth", content=json.dumps({"pass": given}))
    assert (response.status_code, response.json()) == (200, {"code": code})


def test_the_password_check_where_none_is_needed() -> None:
    with LocalServer() as server:
        for body in ({"pass": "any"}, {"pass": None}, {}):
            assert httpx.post(server.url + "/api/auth", json=body, trust_env=False).json() == {"code": 0}


def test_two_million_characters_there_and_back(client: httpx.Client, good: Signed) -> None:
    text = "слово word 字" * 160_000
    response = client.post("/api/generate", json=good(text))
    assert response.status_code == 200
    assert response.text == "You said: " + text


def test_a_body_past_the_limit_is_413(client: httpx.Client) -> None:
    response = client.post("/api/generate", content=b" " * (MAX_BODY_BYTES + 1))
    assert outcome(response) == (413, TEXT, '{"error":{"message":"Request body too large."}}')


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["messages", "role", "parts", "text", "time", "sign", "pass"]), inner)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(any_json)
def test_any_json_gets_a_documented_status_and_no_traceback(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        for path, statuses in (("/api/generate", {400, 401, 500}), ("/api/auth", {200, 500})):
            response = client.post(path, content=json.dumps(value))
            assert response.status_code in statuses
            assert "Internal Server Error" not in response.text  # uvicorn's words for a crash
    assert not caplog.records
