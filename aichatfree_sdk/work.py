"""What a stream is for: each kind of call, from the exchange that it drives to what becomes of the outcome."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from attrs import evolve, frozen

from .config import Settings
from .conversation import Conversation, Message
from .core.exchange import Exchange
from .core.request import AnswerCall, Headers, PasswordCall, fold
from .core.retry import RetryBudget
from .reply import Reply


class Work(Protocol):
    """What a stream is for: its exchange, and what becomes of the outcome."""

    def begin(self) -> Exchange:
        """Return the exchange to drive; nothing has been sent yet."""
        ...

    def commit(self, reply: Reply) -> None:
        """Take the complete answer."""
        ...

    def interrupt(self, partial_text: str) -> None:
        """Take what there is of an answer that will not be completed."""
        ...


class AnswerWork:
    """One question to the model, as one turn of a conversation."""

    def __init__(
        self,
        settings: Settings,
        budget: RetryBudget,
        conversation: Conversation,
        question: tuple[Message, ...],
        headers: Headers,
        *,
        keep_text: bool = True,
    ) -> None:
        self._settings = settings
        self._budget = budget
        self._turn = conversation.prepare(question)
        self._headers = headers
        self._keep_text = keep_text

    def begin(self) -> Exchange:
        """Claim the conversation; raises ConversationBusyError."""
        self._turn.begin()
        messages = fold(self._turn.newest_first(), self._turn.systems(), self._turn.conversation.max_messages)
        call = AnswerCall(self._settings, messages, self._headers)
        return Exchange(call, self._settings, self._budget, monotonic, keep_text=self._keep_text)

    def commit(self, reply: Reply) -> None:
        """Add question and answer to the conversation."""
        if self._keep_text:
            self._turn.commit(reply.message)
        else:  # of a conversation that nobody has
            self._turn.interrupt("")

    def interrupt(self, partial_text: str) -> None:
        """Free the conversation, as its ``on_interrupt`` says."""
        self._turn.interrupt(partial_text)


@frozen(eq=False, repr=False)
class PasswordWork:
    """One question to the server: is the password right?"""

    settings: Settings
    budget: RetryBudget

    def begin(self) -> Exchange:
        """Return the exchange; the answer is JSON and has no trailer."""
        settings = evolve(self.settings, failure_trailer=None)
        return Exchange(PasswordCall(settings), settings, self.budget, monotonic)

    def commit(self, reply: Reply) -> None:
        """Nothing is kept."""

    def interrupt(self, partial_text: str) -> None:
        """Nothing is kept."""
