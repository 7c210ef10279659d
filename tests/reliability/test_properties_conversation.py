"""A conversation, driven by any calls of its public API in any order, is what a plain list says that it is.

And what a server sees of it is what the protocol allows: roles that alternate, from a user's message to the question.
"""

from __future__ import annotations

import copy
import itertools
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from cases import Cases
from examples import run_machine
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aichatfree_sdk import AIChatFreeError, Client, Conversation, Message, RetryPolicy, Stream
from aichatfree_sdk import errors as sdk
from aichatfree_sdk.core.decoder import FAILURE_TRAILER
from aichatfree_sdk.testing import ScriptedResponse, ScriptedTransport
from aichatfree_sdk.transports.base import FailureKind, TransportFailure

ROW = "properties"

WORDS = st.sampled_from(["Привет", "q", " ", "a\n\nb", "🏳️‍🌈", "\x00", "\ufeffx", "e\u0301"])
ROLES = st.sampled_from(["user", "user", "assistant", "model", "system"])
MESSAGES = st.builds(Message, ROLES, WORDS) | st.fixed_dictionaries({"role": ROLES, "content": WORDS})
QUESTIONS = st.one_of(
    WORDS,
    st.builds(Message, st.just("user"), WORDS),
    st.builds(lambda before, last: [*before, Message("user", last)], st.lists(MESSAGES, max_size=3), WORDS),
)
ANSWERS = st.lists(WORDS, min_size=1, max_size=3)
INDEXES = st.integers(0, 9)
SYSTEMS = st.sampled_from([None, "", "Be brief.", "Отвечай\nкратко."])
WINDOWS = st.integers(1, 6)
BAD_QUESTIONS: list[Any] = [
    "", "\ud800", [], None, 7, b"q", ["q"],
    Message("assistant", "a"), Message("system", "s"), [Message("user", "q"), Message("assistant", "a")],
    [{"role": "user", "content": ""}], [{"role": "bot", "content": "q"}], [{"role": "user"}],
    [{"role": "user", "content": "q", "name": "x"}], [{"role": "user", "content": "q", "partial": 1}],
]  # fmt: skip
BAD_OPTIONS = [("system", 7), ("system", "\udfff"), ("max_messages", 0), ("max_messages", True), ("on_interrupt", "no")]
BROKEN = TransportFailure(FailureKind.BROKEN)
# What may follow the deltas of an answer instead of its end, and what is raised then.
ENDINGS: dict[str, tuple[list[Any], type[AIChatFreeError]]] = {
    "a break": ([BROKEN], sdk.StreamInterruptedError),
    "the trailer": ([FAILURE_TRAILER], sdk.StreamInterruptedError),
    "no UTF-8": ([b"\xff"], sdk.InvalidReplyError),
    "half a character": ([b"\xd0"], sdk.InvalidReplyError),
}
NO_ANSWERS: list[tuple[Any, type[AIChatFreeError]]] = [
    ([], sdk.EmptyReplyError),
    (BROKEN, sdk.TransportError),
    (ScriptedResponse(status=400), sdk.BadRequestError),
    (ScriptedResponse(status=503), sdk.OverloadedError),
    (ScriptedResponse(["gz"], headers={"Content-Encoding": "gzip"}), sdk.InvalidReplyError),
]

Plain = tuple[str, str, bool]  # role, text, and whether it is partial


@define
class Model:
    """What a conversation ought to be."""

    system: str | None = None
    window: int = 99
    keep: bool = False
    history: list[Plain] = field(factory=list)

    def wire(self, question: list[Plain]) -> list[tuple[str, str]]:
        """Return what has to be sent: a role and a text each."""
        everything = [*self.history, *question]
        systems = [text for role, text, _ in everything if role == "system"]
        spoken = [(role, text) for role, text, _ in everything if role != "system"]
        turns = [
            (role, "\n\n".join(text for _, text in run)) for role, run in itertools.groupby(spoken, lambda it: it[0])
        ][-self.window :]
        sent = list(itertools.dropwhile(lambda turn: turn[0] == "assistant", turns))
        first = "\n\n".join([*filter(None, [self.system]), *systems, sent[0][1]])
        return [("user", first), *(("model" if role == "assistant" else role, text) for role, text in sent[1:])]

    def undo(self) -> list[Plain]:
        """Take back the last run of user messages, and what follows it."""
        users = [index for index, (role, _, _) in enumerate(self.history) if role == "user"]
        if not users:
            return []
        start = next(index for index in reversed(users) if index - 1 not in users)
        removed = self.history[start:]
        del self.history[start:]
        return removed


def plain(messages: Any) -> list[Plain]:
    if isinstance(messages, str):
        return [("user", messages, False)]
    made = [messages] if isinstance(messages, Message) else list(messages)
    made = [it if isinstance(it, Message) else Message(**it) for it in made]
    return [(it.role, it.content, it.partial) for it in made]


@define(eq=False)
class Pair:
    """A conversation, its model, and the answer that is on its way, if one is."""

    chat: Conversation
    model: Model
    stream: Stream | None = None
    question: list[Plain] = field(factory=list)
    so_far: str = ""

    def interrupted(self, question: list[Plain], text: str) -> None:
        if self.model.keep and text:
            self.model.history += [*question, ("assistant", text, True)]


def busy(machine: Conversations) -> bool:
    return any(pair.stream is not None for pair in machine.pairs)


class Conversations(RuleBasedStateMachine):
    """Every rule picks one of a few conversations, which begin as one and multiply by forks and copies."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[Pair] = []
        self.folder = tempfile.TemporaryDirectory()

    @initialize(system=SYSTEMS, window=WINDOWS, keep=st.booleans(), history=st.lists(MESSAGES, max_size=4))
    def begin(self, system: str | None, window: int, keep: bool, history: list[Any]) -> None:
        how = "keep" if keep else "rollback"
        chat = Conversation(system, history, max_messages=window, on_interrupt=how)
        self.pairs.append(Pair(chat, Model(system, window, keep, plain(history))))

    def pick(self, index: int) -> Pair:
        return self.pairs[index % len(self.pairs)]

    def pick_busy(self, index: int) -> tuple[Pair, Stream]:
        busy = [(pair, pair.stream) for pair in self.pairs if pair.stream is not None]
        return busy[index % len(busy)]

    def idle(self, index: int) -> Pair | None:
        pair = self.pick(index)
        return pair if pair.stream is None else None

    def client(self, *answers: Any) -> tuple[Client, ScriptedTransport]:
        transport = ScriptedTransport(*answers)
        return Client("http://chat.example", transport=transport, retry=RetryPolicy(max_retries=0)), transport

    @staticmethod
    def check_sent(transport: ScriptedTransport, expected: list[tuple[str, str]], window: int) -> None:
        (request,) = transport.requests
        sent = [(message["role"], message["parts"][0]["text"]) for message in request["messages"]]
        assert sent == expected
        assert len(sent) <= window
        assert [role for role, _ in sent] == [("user", "model")[index % 2] for index in range(len(sent))]
        assert sent[-1][0] == "user"

    # Whole turns.

    @rule(index=INDEXES, question=QUESTIONS, answer=ANSWERS)
    def ask(self, index: int, question: Any, answer: list[str]) -> None:
        pair = self.pick(index)
        client, transport = self.client(answer)
        if pair.stream is not None:
            with pytest.raises(sdk.ConversationBusyError):
                client.ask(question, conversation=pair.chat)
            assert transport.requests == ()
            return
        asked = plain(question)
        assert client.ask(question, conversation=pair.chat).text == "".join(answer)
        self.check_sent(transport, pair.model.wire(asked), pair.model.window)
        pair.model.history += [*asked, ("assistant", "".join(answer), False)]

    @rule(index=INDEXES, question=st.sampled_from(BAD_QUESTIONS))
    def ask_what_cannot_be_asked(self, index: int, question: Any) -> None:
        client, transport = self.client()
        with pytest.raises(sdk.InvalidArgumentError):
            client.ask(question, conversation=self.pick(index).chat)
        assert transport.requests == ()

    @rule(index=INDEXES, question=QUESTIONS, answer=st.lists(WORDS, max_size=2), end=st.sampled_from([*ENDINGS]))
    def ask_and_fail(self, index: int, question: Any, answer: list[str], end: str) -> None:
        if (pair := self.idle(index)) is None:
            return
        rest, error = ENDINGS[end]
        client, transport = self.client([*answer, *rest])
        with pytest.raises(error) as caught:
            client.ask(question, conversation=pair.chat)
        assert caught.value.partial_text == "".join(answer)
        self.check_sent(transport, pair.model.wire(plain(question)), pair.model.window)
        pair.interrupted(plain(question), "".join(answer))

    @rule(index=INDEXES, question=QUESTIONS, answer=st.sampled_from(NO_ANSWERS))
    def ask_and_get_nothing(self, index: int, question: Any, answer: tuple[Any, type[AIChatFreeError]]) -> None:
        if (pair := self.idle(index)) is None:
            return
        client, _ = self.client(answer[0])
        with pytest.raises(answer[1]):
            client.ask(question, conversation=pair.chat)

    @rule(index=INDEXES, question=QUESTIONS, answer=ANSWERS)
    def leave_by_an_exception(self, index: int, question: Any, answer: list[str]) -> None:
        if (pair := self.idle(index)) is None:
            return
        client, _ = self.client(answer)
        with pytest.raises(KeyboardInterrupt), client.stream(question, conversation=pair.chat) as stream:
            next(stream)
            raise KeyboardInterrupt
        pair.interrupted(plain(question), answer[0])

    # Turns that take their time.

    @rule(index=INDEXES, question=QUESTIONS, answer=ANSWERS)
    def open(self, index: int, question: Any, answer: list[str]) -> None:
        if (pair := self.idle(index)) is None:
            return
        client, transport = self.client(answer)
        pair.stream = client.stream(question, conversation=pair.chat)
        assert not pair.chat.busy  # it sends nothing yet
        pair.stream.__enter__()
        pair.question, pair.so_far = plain(question), ""
        self.check_sent(transport, pair.model.wire(pair.question), pair.model.window)

    @precondition(busy)
    @rule(index=INDEXES, to_the_end=st.booleans())
    def read(self, index: int, to_the_end: bool) -> None:
        pair, stream = self.pick_busy(index)
        for delta in stream:
            pair.so_far += delta
            if not to_the_end:
                return
        assert stream.reply.text == pair.so_far
        pair.model.history += [*pair.question, ("assistant", pair.so_far, False)]
        stream.close()
        pair.stream = None

    @precondition(busy)
    @rule(index=INDEXES)
    def close(self, index: int) -> None:
        pair, stream = self.pick_busy(index)
        stream.close()
        stream.close()
        pair.stream = None
        pair.interrupted(pair.question, pair.so_far)

    # The data.

    @rule(index=INDEXES)
    def undo(self, index: int) -> None:
        pair = self.pick(index)
        if pair.stream is not None:
            with pytest.raises(sdk.ConversationBusyError):
                pair.chat.undo()
            return
        assert plain(pair.chat.undo()) == pair.model.undo()

    @rule(index=INDEXES, how=st.sampled_from(["fork", "dict", "file", "pickle", "copy", "deepcopy"]))
    def make_another(self, index: int, how: str) -> None:
        pair = self.pick(index)
        path = Path(self.folder.name, "chat.json")
        if how == "file":
            pair.chat.save(path)
        makers = {
            "fork": pair.chat.fork,
            "dict": lambda: Conversation.from_dict(pair.chat.to_dict()),
            "file": lambda: Conversation.load(path),
            "pickle": lambda: pickle.loads(pickle.dumps(pair.chat)),
            "copy": lambda: copy.copy(pair.chat),
            "deepcopy": lambda: copy.deepcopy(pair.chat),
        }
        made = makers[how]()
        assert made == pair.chat
        assert not made.busy
        self.pairs.append(Pair(made, evolve(pair.model, history=list(pair.model.history))))
        if len(self.pairs) > 4 and self.pairs[0].stream is None:
            del self.pairs[0]

    @rule(index=INDEXES, system=SYSTEMS, window=WINDOWS, keep=st.booleans())
    def set_options(self, index: int, system: str | None, window: int, keep: bool) -> None:
        pair = self.pick(index)
        pair.chat.system, pair.chat.max_messages = system, window
        pair.chat.on_interrupt = "keep" if keep else "rollback"
        pair.model.system, pair.model.window, pair.model.keep = system, window, keep

    @rule(index=INDEXES, bad=st.sampled_from(BAD_OPTIONS))
    def set_what_cannot_be(self, index: int, bad: tuple[str, Any]) -> None:
        with pytest.raises(sdk.InvalidArgumentError):
            setattr(self.pick(index).chat, *bad)

    @invariant()
    def each_is_as_its_model(self) -> None:
        for pair in self.pairs:
            chat, model = pair.chat, pair.model
            assert plain(chat.messages) == model.history
            assert (chat.system, chat.max_messages) == (model.system, model.window)
            assert chat.on_interrupt == ("keep" if model.keep else "rollback")
            assert chat.busy is (pair.stream is not None)
            assert chat.last == (chat.messages[-1] if model.history else None)

    def teardown(self) -> None:
        for pair in self.pairs:
            if pair.stream is not None:
                pair.stream.close()
        self.folder.cleanup()


def test_a_conversation_is_what_a_list_says(cases: Cases) -> None:
    class Counted(Conversations):
        def teardown(self) -> None:
            super().teardown()
            cases.count()

    run_machine(Counted, cases, 60, 1000, steps=cases.choose(25, 50))
