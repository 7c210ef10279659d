"""Requests as they stand on the wire."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aichatfree_sdk import InvalidArgumentError, Message, Settings, generate_signature
from aichatfree_sdk.core.request import AnswerCall, PasswordCall, check_question, fold

STAMP = 1700000000000


def turns(*texts: str) -> tuple[Message, ...]:
    """Messages of user and assistant in turn, the last the user's."""
    roles = ["user" if (len(texts) - index) % 2 else "assistant" for index in range(len(texts))]
    return tuple(Message(role, text) for role, text in zip(roles, texts, strict=True))


def test_the_body_is_the_one_of_the_protocol() -> None:
    settings = Settings(base_url="http://chat.example/prefix/", password="pw", secret="s3cr3t")
    request = AnswerCall(settings, turns("q", "a", "Привет!")).stamp(STAMP)
    assert request.method == "POST"
    assert request.url == "http://chat.example/prefix/api/generate"
    assert json.loads(request.body) == {
        "messages": [
            {"role": "user", "parts": [{"text": "q"}]},
            {"role": "model", "parts": [{"text": "a"}]},
            {"role": "user", "parts": [{"text": "Привет!"}]},
        ],
        "time": STAMP,
        "pass": "pw",
        "sign": "0a097913aa6ac80a81c289dfc83a5544dc652c9106132baa439eaba511734faa",
    }
    assert "Привет!".encode() in request.body


def test_the_headers_are_those_of_the_site_s_own_page_and_an_honest_agent() -> None:
    headers = dict(AnswerCall(Settings(base_url="http://chat.example:81/p"), turns("q")).stamp(STAMP).headers)
    agent = headers.pop("User-Agent")
    assert agent.startswith("aichatfree-sdk/")
    assert headers == {
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Type": "text/plain;charset=UTF-8",
        "Referer": "http://chat.example:81/p/",
        "Origin": "http://chat.example:81",
    }


def test_headers_of_the_call_beat_those_of_the_client_beat_ours_whatever_their_case() -> None:
    settings = Settings.create("http://h", headers={"user-agent": "mine", "X-A": "client"})
    headers = AnswerCall(settings, turns("q"), (("x-a", "call"),)).stamp(STAMP).headers
    assert [(name, value) for name, value in headers if name.lower() in ("user-agent", "x-a")] == [
        ("user-agent", "mine"),
        ("x-a", "call"),
    ]


def test_a_password_that_is_not_set_is_null() -> None:
    assert json.loads(AnswerCall(Settings(), turns("q")).stamp(STAMP).body)["pass"] is None


def test_each_stamp_signs_afresh() -> None:
    call = AnswerCall(Settings(secret="s"), turns("q"))
    signs = [json.loads(call.stamp(time).body)["sign"] for time in (1, 2)]
    assert signs == [generate_signature(1, "q", "s"), generate_signature(2, "q", "s")]


def test_a_request_does_not_show_its_secrets() -> None:
    settings = Settings.create("http://h", password="canary-p", secret="canary-s", headers={"X-Key": "canary-h"})
    request = AnswerCall(settings, turns("canary-q")).stamp(STAMP)
    assert "canary" not in repr(request)
    sign = generate_signature(STAMP, "canary-q", "canary-s")
    assert set(request.sensitive) == {"canary-p", "canary-s", "canary-h", sign}


def test_of_the_users_headers_what_may_be_a_key_is_sensitive() -> None:
    headers = {"Authorization": "Bearer abcdefgh", "X-Trace": "1", "X-Key": "12345678"}
    request = AnswerCall(Settings.create("http://h", headers=headers), turns("q"), (("X-Call", "a b"),)).stamp(STAMP)
    sign = generate_signature(STAMP, "q", "")
    assert set(request.sensitive) == {"Bearer abcdefgh", "abcdefgh", "12345678", sign}


def test_the_password_call() -> None:
    request = PasswordCall(Settings(base_url="http://h", password="pw")).stamp(STAMP)
    assert (request.url, json.loads(request.body)) == ("http://h/api/auth", {"pass": "pw"})
    assert json.loads(PasswordCall(Settings()).stamp(STAMP).body) == {"pass": ""}


@pytest.mark.parametrize(
    ("messages", "problem"),
    [((), "at least one message"), ((Message("assistant", "a"),), "must be the user's, not the assistant's")],
)
def test_what_cannot_be_asked(messages: tuple[Message, ...], problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        check_question(messages)


def test_what_can_be_asked() -> None:
    check_question(turns("q1", "a1", "q2"))


def fold_all(history: Sequence[Message], system: str | None, limit: int) -> tuple[Message, ...]:
    systems = [system] * bool(system) + [message.content for message in history if message.role == "system"]
    return fold(reversed(history), systems, limit)  # type: ignore[arg-type]


def test_no_more_of_a_history_is_looked_at_than_is_sent() -> None:
    newest_first = reversed(turns(*("qa" * 5_000), "q"))
    assert len(fold(newest_first, [], 99)) == 99
    assert sum(1 for _ in newest_first) == 10_001 - 100


def test_system_text_goes_in_front_of_the_first_user_message_sent() -> None:
    history = (Message("system", "S2"), *turns("q1", "a1", "q2"))
    assert fold_all(history, "S1", 99)[0] == Message("user", "S1\n\nS2\n\nq1")
    assert fold_all(history, "S1", 1) == (Message("user", "S1\n\nS2\n\nq2"),)


def test_neighbours_of_one_role_become_one_message() -> None:
    history = (Message("user", "a"), Message("user", "b"), Message("assistant", "c"), Message("assistant", "d"))
    assert fold_all((*history, Message("user", "e")), None, 99) == (
        Message("user", "a\n\nb"),
        Message("assistant", "c\n\nd"),
        Message("user", "e"),
    )


@pytest.mark.parametrize(
    ("limit", "sent"), [(1, ["q3"]), (2, ["q3"]), (3, ["q2", "a2", "q3"]), (99, ["q1", "a1", "q2", "a2", "q3"])]
)
def test_the_window_ends_at_the_question_and_starts_at_a_user_message(limit: int, sent: list[str]) -> None:
    assert [message.content for message in fold_all(turns("q1", "a1", "q2", "a2", "q3"), None, limit)] == sent


@given(
    st.lists(st.sampled_from(["user", "assistant", "system"])),
    st.integers(1, 12),
    st.none() | st.just("system text"),
)
def test_whatever_the_history_the_model_takes_it(roles: list[str], limit: int, system: str | None) -> None:
    history = [Message(role, f"{index}") for index, role in enumerate([*roles, "user"])]
    wire = fold_all(history, system, limit)
    assert 1 <= len(wire) <= limit
    assert [message.role for message in wire] == ["user", "assistant"] * (len(wire) // 2) + ["user"]
    assert all(message.content for message in wire)
    assert wire[-1].content.endswith(str(len(roles)))
