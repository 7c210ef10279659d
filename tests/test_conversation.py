"""Conversations: data and rules, without any client."""

from __future__ import annotations

import contextlib
import copy
import pickle
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aichatfree_sdk import Conversation, ConversationBusyError, InvalidArgumentError, Message
from aichatfree_sdk.conversation import Turn

Q1, A1, Q2, A2 = Message("user", "q1"), Message("assistant", "a1"), Message("user", "q2"), Message("assistant", "a2")


def begin(chat: Conversation, question: list[Message]) -> Turn:
    turn = chat.prepare(question)
    turn.begin()
    return turn


def test_a_turn_is_committed_as_a_whole() -> None:
    chat = Conversation()
    turn = begin(chat, [Q1])
    assert (turn.question, chat.messages, chat.busy) == ((Q1,), (), True)
    turn.commit(A1)
    assert (chat.messages, chat.last, chat.busy) == ((Q1, A1), A1, False)
    second = chat.prepare([Q2])
    second.begin()
    assert list(second.newest_first()) == [Q2, A1, Q1]
    second.commit(A2)
    assert chat.messages == (Q1, A1, Q2, A2)


@pytest.mark.parametrize(
    ("on_interrupt", "partial", "left"),
    [
        ("rollback", "so far", ()),
        ("keep", "so far", (Q1, Message("assistant", "so far", partial=True))),
        ("keep", "", ()),
    ],
)
def test_an_interrupted_turn(on_interrupt: str, partial: str, left: tuple[Message, ...]) -> None:
    chat = Conversation(on_interrupt=on_interrupt)  # type: ignore[arg-type]
    begin(chat, [Q1]).interrupt(partial)
    assert (chat.messages, chat.busy) == (left, False)


def test_a_turn_ends_once() -> None:
    chat = Conversation()
    turn = begin(chat, [Q1])
    turn.interrupt("")
    other = begin(chat, [Q2])
    turn.commit(A1)
    turn.interrupt("x")
    assert (chat.messages, chat.busy) == ((), True)
    other.commit(A2)
    assert chat.messages == (Q2, A2)


def test_a_busy_conversation_refuses_a_second_turn_and_undo() -> None:
    chat = Conversation()
    turn = begin(chat, [Q1])
    for call in (lambda: begin(chat, [Q2]), chat.undo):
        with pytest.raises(ConversationBusyError, match=r"\.fork\(\)"):
            call()
    turn.commit(A1)
    assert chat.messages == (Q1, A1)


def test_of_many_threads_one_gets_the_turn() -> None:
    chat = Conversation()
    start = threading.Barrier(16)
    outcomes: list[str] = []

    def claim() -> None:
        start.wait()
        try:
            begin(chat, [Q1])
            outcomes.append("claimed")
        except ConversationBusyError:
            outcomes.append("busy")

    threads = [threading.Thread(target=claim) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["busy"] * 15 + ["claimed"]


def test_no_turn_of_many_threads_is_lost() -> None:
    chat, interval = Conversation(), sys.getswitchinterval()

    def talk(name: int) -> None:
        done = 0
        while done < 100:
            with contextlib.suppress(ConversationBusyError):
                begin(chat, [Message("user", f"{name}-{done}")]).commit(A1)
                done += 1

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=talk, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    asked = {message.content for message in chat.messages if message.role == "user"}
    assert asked == {f"{name}-{turn}" for name in range(4) for turn in range(100)}


def test_messages_are_nobody_s_to_change() -> None:
    chat = Conversation(messages=[Q1, A1])
    assert isinstance(chat.messages, tuple)
    with pytest.raises(AttributeError):
        chat.messages = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Q1.content = "x"  # type: ignore[misc]


def test_undo_takes_the_last_turn_back() -> None:
    chat = Conversation(messages=[Q1, A1, Q2, Message("user", "and"), A2])
    assert chat.undo() == (Q2, Message("user", "and"), A2)
    assert chat.undo() == (Q1, A1)
    assert chat.undo() == ()
    assert chat.last is None


def test_a_fork_goes_its_own_way() -> None:
    chat = Conversation("S", [Q1, A1], max_messages=7, on_interrupt="keep")
    turn = begin(chat, [Q2])
    fork = chat.fork()
    assert not fork.busy
    begin(fork, [Q2]).commit(A1)
    turn.commit(A2)
    assert chat.messages == (Q1, A1, Q2, A2)
    assert fork.messages == (Q1, A1, Q2, A1)
    assert (fork.system, fork.max_messages, fork.on_interrupt) == ("S", 7, "keep")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda chat: pickle.loads(pickle.dumps(chat))])
def test_a_copy_is_a_fork(duplicate: object) -> None:
    chat = Conversation("S", [Q1, A1], max_messages=7, on_interrupt="keep")
    begin(chat, [Q2])
    other = duplicate(chat)  # type: ignore[operator]
    assert other == chat
    assert not other.busy


def test_a_message_of_any_spelling() -> None:
    assert Conversation(messages=[{"role": "model", "content": "x"}]).messages == (Message("assistant", "x"),)
    assert Message("model", "x").role == "assistant"  # type: ignore[arg-type]


def test_the_repr_shows_no_content() -> None:
    chat = Conversation("canary", [Message("user", "canary")])
    assert repr(chat) == "<Conversation of 1 messages>"
    begin(chat, [Q1])
    assert repr(chat) == "<Conversation of 1 messages, busy>"


MESSAGES = st.builds(
    Message,
    st.sampled_from(["user", "assistant", "system"]),
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.booleans(),
)


@given(
    st.none() | st.text(st.characters(codec="utf-8")),
    st.lists(MESSAGES, max_size=5),
    st.integers(1, 10**6),
    st.sampled_from(["rollback", "keep"]),
)
def test_a_dict_brings_it_back(system: str | None, messages: list[Message], limit: int, on_interrupt: str) -> None:
    chat = Conversation(system, messages, max_messages=limit, on_interrupt=on_interrupt)  # type: ignore[arg-type]
    assert Conversation.from_dict(chat.to_dict()) == chat


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Message("tool", "x"), "role: must be 'user', 'assistant' (or 'model') or 'system', not 'tool'"),  # type: ignore[arg-type]
        (lambda: Message([], "x"), "role: must be"),  # type: ignore[arg-type]
        (lambda: Message("user", ""), "content: must not be empty"),
        (lambda: Message("user", None), "content: must be a str, not NoneType"),  # type: ignore[arg-type]
        (lambda: Message("user", "a\ud800"), "content: has a lone surrogate (U+D800) at position 1"),
        (lambda: Message.from_dict({"role": "user"}), "content: is missing"),
        (lambda: Message.from_dict({"role": "user", "content": "x", "name": "n"}), "name: is not known here"),
        (lambda: Message.from_dict({"role": "user", "content": "x", "partial": 1}), "partial: must be true or false"),
        (lambda: Conversation(system="\udc00"), "system: has a lone surrogate"),
        (lambda: Conversation(system=7), "system: must be a str, not int"),  # type: ignore[arg-type]
        (lambda: Conversation(max_messages=0), "max_messages: must be a whole number of at least 1, not 0"),
        (lambda: Conversation(max_messages=True), "max_messages: must be a whole number"),
        (lambda: Conversation(on_interrupt="maybe"), "on_interrupt: must be 'rollback' or 'keep'"),  # type: ignore[arg-type]
        (lambda: Conversation(messages="q"), "messages: must be a sequence of messages, not a str"),  # type: ignore[arg-type]
        (lambda: Conversation(messages=7), "messages: must be a str, a Message or a sequence"),  # type: ignore[arg-type]
        (lambda: Conversation(messages=[7]), "messages[0]: must be a Message or a mapping, not int"),  # type: ignore[list-item]
        (lambda: Conversation(messages=[Q1, {"role": "x", "content": "y"}]), "messages[1]: role: must be"),
        (lambda: Conversation.from_dict({"messages": []}), "version: is missing"),
        (lambda: Conversation.from_dict({"version": 2, "messages": []}), "version: must be 1, not 2"),
        (lambda: Conversation.from_dict({"version": True, "messages": []}), "version: must be 1, not True"),
        (lambda: Conversation.from_dict({"version": 1, "messages": {}}), "messages: must be a list, not dict"),
        (lambda: Conversation.from_dict({"version": 1, "messages": [], "x": 1}), "x: is not known here"),
    ],
)
def test_bad_input_names_the_argument_and_what_is_allowed(make: object, told: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make()  # type: ignore[operator]
    assert told in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_bad_change_leaves_the_conversation_as_it_was() -> None:
    chat = Conversation("S")
    with pytest.raises(InvalidArgumentError):
        chat.max_messages = -1
    with pytest.raises(InvalidArgumentError):
        chat.system = "\ud800"
    assert (chat.system, chat.max_messages) == ("S", 99)
