"""What a stream is for: each kind of call, from the exchange that it drives to what becomes of the outcome."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from attrs import define, evolve, frozen

from .config import Settings
from .conversation import MAX_MESSAGES, Message, Turn, system_texts
from .core.actions import Finish
from .core.exchange import Exchange
from .core.request import AnswerCall, Headers, PasswordCall, fold
from .core.retry import RetryBudget


class Work(Protocol):
    """What a stream is for: its exchange, and what becomes of the outcome."""

    def begin(self) -> Exchange:
        """Return the exchange to drive; nothing has been sent yet."""
        ...

    def commit(self, finish: Finish) -> None:
        """Take the complete answer."""
        ...

    def interrupt(self, partial_text: str) -> None:
        """Take what there is of an answer that will not be completed."""
        ...


@define(eq=False, repr=False)
class AnswerWork:
    """One question to the model, and the turn that it is of a conversation, if there is one."""

    settings: Settings
    budget: RetryBudget
    question: tuple[Message, ...]
    turn: Turn | None
    headers: Headers
    keep_text: bool = True

    def begin(self) -> Exchange:
        """Claim the conversation, if there is one; raises ConversationBusyError."""
        if self.turn is None:
            messages = fold(reversed(self.question), system_texts(self.question), MAX_MESSAGES)
        else:
            self.turn.begin()
            messages = fold(self.turn.newest_first(), self.turn.systems(), self.turn.conversation.max_messages)
        call = AnswerCall(self.settings, messages, self.headers)
        return Exchange(call, self.settings, self.budget, monotonic, keep_text=self.keep_text)

    def commit(self, finish: Finish) -> None:
        """Add question and answer to the conversation."""
        if self.turn is not None:
            self.turn.commit(finish.reply.message)

    def interrupt(self, partial_text: str) -> None:
        """Free the conversation, as its ``on_interrupt`` says."""
        if self.turn is not None:
            self.turn.interrupt(partial_text)


@frozen(eq=False, repr=False)
class PasswordWork:
    """One question to the server: is the password right?"""

    settings: Settings
    budget: RetryBudget

    def begin(self) -> Exchange:
        """Return the exchange; the answer is JSON and has no trailer."""
        settings = evolve(self.settings, failure_trailer=None)
        return Exchange(PasswordCall(settings), settings, self.budget, monotonic)

    def commit(self, finish: Finish) -> None:
        """Nothing is kept."""

    def interrupt(self, partial_text: str) -> None:
        """Nothing is kept."""
