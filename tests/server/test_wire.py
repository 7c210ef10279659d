"""The request rules, without a socket: every row of the table, the order of the checks, and hostile shapes."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aichatfree_sdk.core.signing import generate_signature
from aichatfree_sdk.server import ChatMessage, create_app
from aichatfree_sdk.server.wire import Refused, Site, read_history, read_object

TIME = 1_700_000_000_000
HISTORY = b'{"error":{"message":"Invalid message history: The last message must be from user role."}}'
PASSWORD = b'{"error":{"message":"Invalid password."}}'
SIGNATURE = b'{"error":{"message":"Invalid signature."}}'
TURNS = (
    b'{"error":{"code":"Error","message":"Please ensure that multiturn requests alternate between user and model."}}'
)


def turn(role: object, *texts: object) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text} for text in texts]}


def sign(text: str, secret: str = "") -> dict[str, Any]:
    return {"time": TIME, "sign": generate_signature(TIME, text, secret)}


def verdict(request: dict[str, Any] | bytes, **site: Any) -> tuple[ChatMessage, ...] | tuple[int, bytes]:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    try:
        return read_history(read_object(body), Site(**site), TIME)
    except Refused as refusal:
        return refusal.status, refusal.body


HI = [turn("user", "Hi")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b'{"time": NaN}',
        b"[" * 100_000,
        b'{"time": ' + b"9" * 5000 + b"}",
    ],
)
def test_an_unreadable_body_is_500_and_empty(body: bytes) -> None:
    assert verdict(body) == (500, b"")


@pytest.mark.parametrize(
    "messages",
    [None, [], {}, "user", 5, [turn("model", "Hi")], [turn("system", "Hi")], [turn(None, "Hi")], [None], [["user"]]],
)
def test_a_history_that_does_not_end_with_the_user_is_400(messages: object) -> None:
    assert verdict({"messages": messages, **sign("Hi")}) == (400, HISTORY)


def test_a_missing_history_is_400() -> None:
    assert verdict({}) == (400, HISTORY)


@pytest.mark.parametrize("given", [None, "", "wrong", "Pass", "ключ", "\ud800", 1, True, ["pass"]])
def test_a_wrong_password_is_401(given: object) -> None:
    assert verdict({"messages": HI, "pass": given, **sign("Hi")}, password="pass") == (401, PASSWORD)


@pytest.mark.parametrize("right", ["pass", "пароль", "🔑"])
def test_the_right_password_passes(right: str) -> None:
    assert verdict({"messages": HI, "pass": right, **sign("Hi")}, password=right) == (ChatMessage("user", "Hi"),)


@pytest.mark.parametrize("none", [None, ""])
def test_a_site_without_a_password_ignores_the_field(none: str | None) -> None:
    assert verdict({"messages": HI, "pass": "any", **sign("Hi")}, password=none) == (ChatMessage("user", "Hi"),)


@pytest.mark.parametrize(
    ("secret", "signature"),
    [
        ("", "690541cd6fe27026027e96b6934f66b18e521aaf07829ed8a78ec0232c88f060"),
        ("s3cr3t", "0a097913aa6ac80a81c289dfc83a5544dc652c9106132baa439eaba511734faa"),
    ],
)
def test_the_recorded_signatures(secret: str, signature: str) -> None:
    request = {"messages": [turn("user", "Привет!")], "time": TIME, "sign": signature}
    assert verdict(request, secret=secret) == (ChatMessage("user", "Привет!"),)
    assert verdict(request, secret=secret + "x") == (401, SIGNATURE)
    assert verdict({**request, "sign": signature.upper()}, secret=secret) == (401, SIGNATURE)


@pytest.mark.parametrize(
    "change",
    [
        {"sign": None},
        {"sign": 5},
        {"sign": ""},
        {"sign": "ж" * 64},
        {"sign": "\ud800"},
        {"time": None},
        {"time": float(TIME)},
        {"time": str(TIME)},
        {"time": True},
        {"time": TIME + 1},
        {"time": 10**400},
        {"time": [TIME]},
    ],
)
def test_a_wrong_signature_or_time_is_401(change: dict[str, Any]) -> None:
    assert verdict({"messages": HI, **sign("Hi"), **change}) == (401, SIGNATURE)
    assert verdict({"messages": HI, **sign("Hi"), **change}, max_clock_skew=300) == (401, SIGNATURE)


def test_true_is_no_time_however_it_is_signed() -> None:
    assert verdict({"messages": HI, "time": True, "sign": generate_signature(True, "Hi")}) == (401, SIGNATURE)


def test_a_missing_signature_is_401() -> None:
    assert verdict({"messages": HI}) == (401, SIGNATURE)


@pytest.mark.parametrize(
    ("off", "good"), [(0, True), (300_000, True), (-300_000, True), (300_001, False), (-300_001, False)]
)
def test_the_clock(off: int, good: bool) -> None:
    time = TIME + off
    request = {"messages": HI, "time": time, "sign": generate_signature(time, "Hi")}
    expected = (ChatMessage("user", "Hi"),) if good else (401, SIGNATURE)
    assert verdict(request, max_clock_skew=300) == expected
    assert verdict(request) == (ChatMessage("user", "Hi"),)


@pytest.mark.parametrize(
    "before",
    [
        [turn("model", "Hello")],
        [turn("user", "Hello")],
        [turn("user", "Hello"), turn("model", "a"), turn("model", "b")],
        [turn("user", "Hello"), turn("assistant", "a")],
        [turn("system", "Hello"), turn("model", "a")],
        [turn("user", ""), turn("model", "a")],
        [turn("user"), turn("model", "a")],
        [turn("user", "Hello"), turn(None, "a")],
        [turn("user", "Hello"), turn(["model"], "a")],
    ],
)
def test_what_the_model_would_refuse_is_500_with_its_words(before: list[Any]) -> None:
    assert verdict({"messages": [*before, *HI], **sign("Hi")}) == (500, TURNS)


def test_an_empty_question_is_refused_by_the_model_too() -> None:
    assert verdict({"messages": [turn("user", "")], **sign("")}) == (500, TURNS)


@pytest.mark.parametrize(
    "broken",
    [
        {"role": "user"},
        {"role": "user", "parts": "Hi"},
        {"role": "user", "parts": ["Hi"]},
        turn("user", 5),
        turn("user", None),
    ],
)
def test_broken_parts_are_500_and_empty(broken: dict[str, Any]) -> None:
    assert verdict({"messages": [broken], **sign("Hi")}) == (500, b"")
    assert verdict({"messages": [broken, turn("model", "a"), *HI], **sign("Hi")}) == (500, b"")


def test_a_good_history_arrives_with_its_parts_joined() -> None:
    history = [turn("user", "a", "b"), turn("model", "c"), turn("user", "d", "", "e")]
    assert verdict({"messages": history, **sign("de")}) == (
        ChatMessage("user", "ab"),
        ChatMessage("model", "c"),
        ChatMessage("user", "de"),
    )


def test_the_order_of_the_checks() -> None:
    # Everything is wrong; each repair uncovers the next fault.
    request: dict[str, Any] = {
        "messages": [turn("model", ""), turn("model", "Hi")],
        "pass": "no",
        "time": 0,
        "sign": "",
    }
    assert verdict(request, password="yes") == (400, HISTORY)
    request["messages"][-1]["role"] = "user"
    assert verdict(request, password="yes") == (401, PASSWORD)
    request["pass"] = "yes"
    assert verdict(request, password="yes") == (401, SIGNATURE)
    request |= sign("Hi")
    assert verdict(request, password="yes") == (500, TURNS)


def test_half_a_surrogate_pair_is_signed_as_the_replacement_character() -> None:
    lone = b'{"messages":[{"role":"user","parts":[{"text":"a\\ud83d!"}]}],"time":1700000000000,"sign":"%s"}'
    assert verdict(lone % generate_signature(TIME, "a\ufffd!").encode()) == (ChatMessage("user", "a\ufffd!"),)
    halves = {"messages": [turn("user", "\ud83d", "\ude00")], **sign("😀")}
    assert verdict(halves) == (ChatMessage("user", "😀"),)


def test_bad_utf8_and_a_byte_order_mark_read_as_a_browser_reads_them() -> None:
    body = json.dumps({"messages": [turn("user", "?")], **sign("\ufffd")}).encode().replace(b'"?"', b'"\xff"')
    assert verdict(b"\xef\xbb\xbf" + body) == (ChatMessage("user", "\ufffd"),)


def test_settings_are_checked_and_kept_out_of_sight() -> None:
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="max_clock_skew"):
            create_app(max_clock_skew=wrong)
    with pytest.raises(ValueError, match="surrogate") as caught:
        create_app(secret="s3cr3t\udcff")
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in repr(Site(password="s3cr3t", secret="s3cr3t"))


def test_messages_are_values() -> None:
    message = ChatMessage("user", "Hi")
    assert pickle.loads(pickle.dumps(message)) == message
    with pytest.raises(AttributeError):
        message.text = "Ho"  # type: ignore[misc]


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
roles = st.sampled_from(["user", "model"]) | any_json
messages = st.lists(
    st.fixed_dictionaries({"role": roles, "parts": st.lists(st.fixed_dictionaries({"text": any_json})) | any_json})
    | any_json
)
requests = st.fixed_dictionaries(
    {"messages": messages | any_json}, optional={"time": any_json, "sign": any_json, "pass": any_json}
)


@given(requests | any_json | st.binary())
def test_whatever_comes_meets_a_row_of_the_table(value: Any) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    for site in ({}, {"password": "p", "max_clock_skew": 300}):
        result = verdict(body, **site)
        assert result in {(500, b""), (400, HISTORY), (401, PASSWORD), (401, SIGNATURE), (500, TURNS)}
