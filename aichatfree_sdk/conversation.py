"""Messages and the conversation they add up to: data and its rules, no client and no file.

A turn is a claim on the conversation: `Turn.begin` makes it, and exactly one of `Turn.commit` and `Turn.interrupt`
ends it. The history changes in that one assignment or not at all, so nobody ever sees half a turn.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from attrs import define, field, frozen, setters
from attrs.validators import optional

from . import storage
from .errors import ConversationBusyError, ConversationFileError, InvalidArgumentError
from .forking import in_every_child
from .validation import check_count, check_encodable, check_text

if TYPE_CHECKING:
    from attrs import Attribute

Role: TypeAlias = Literal["user", "assistant", "system"]
OnInterrupt: TypeAlias = Literal["rollback", "keep"]

# The wire spells the assistant "model"; both spellings are in use among people, so both are read.
_ROLES: Mapping[object, Role] = {"user": "user", "assistant": "assistant", "model": "assistant", "system": "system"}
_FILE_VERSION = 1
# The site's own web client sends at most this many messages (PROTOCOL.md, "Request").
MAX_MESSAGES = 99


def _to_role(role: object) -> Role:
    if isinstance(role, str) and role in _ROLES:
        return _ROLES[role]
    raise InvalidArgumentError("role", f"must be 'user', 'assistant' (or 'model') or 'system', not {role!r}")


def _check_content(_: object, attribute: Attribute[Any], value: Any) -> None:
    check_text(attribute.name, value)


@frozen
class Message:
    """One message of a conversation.

    Args:
        role: ``"user"``, ``"assistant"`` (``"model"`` is taken as the same) or ``"system"``.
        content: the text; not empty, and without lone surrogates.
        partial: True for an answer that was interrupted and kept.

    Raises:
        InvalidArgumentError: the role is unknown, or the text cannot be sent.

    Example:
        >>> Message("user", "Hello").content
        'Hello'
    """

    role: Role = field(converter=_to_role)
    content: str = field(validator=_check_content)
    partial: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the message as ``{"role", "content"}``, with ``"partial": True`` where it is.

        Example:
            >>> Message("model", "Hello").to_dict()
            {'role': 'assistant', 'content': 'Hello'}
        """
        data: dict[str, Any] = {"role": self.role, "content": self.content}
        return {**data, "partial": True} if self.partial else data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Message:
        """Return the message that ``data`` describes.

        Args:
            data: what `to_dict` returns.

        Raises:
            InvalidArgumentError: a key is missing or unknown, or a value cannot be a message's.
        """
        _check_keys(data, required={"role", "content"}, allowed={"partial"})
        partial = data.get("partial", False)
        if not isinstance(partial, bool):
            raise InvalidArgumentError("partial", f"must be true or false, not {partial!r}")
        return cls(data["role"], data["content"], partial)


MessageLike: TypeAlias = Message | Mapping[str, Any]
Prompt: TypeAlias = str | Message | Sequence[MessageLike]


def to_messages(argument: str, value: object) -> tuple[Message, ...]:
    """Return a prompt or a history, in any of the shapes users write them, as messages.

    Raises:
        InvalidArgumentError: it is none of a str, a `Message` and a sequence of messages, or one of them is bad.
    """
    if isinstance(value, str):
        return (Message("user", check_text(argument, value)),)
    if isinstance(value, Message):
        return (value,)
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
        raise InvalidArgumentError(
            argument, f"must be a str, a Message or a sequence of messages, not {type(value).__name__}"
        )
    items = enumerate(cast("Sequence[object]", value))
    return tuple(_to_message(f"{argument}[{index}]", item) for index, item in items)


def _to_message(argument: str, value: object) -> Message:
    if isinstance(value, Message):
        return value
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(argument, f"must be a Message or a mapping, not {type(value).__name__}")
    try:
        return Message.from_dict(cast("Mapping[str, Any]", value))
    except InvalidArgumentError as error:
        problem = str(error)
    raise InvalidArgumentError(argument, problem)


def system_texts(messages: Sequence[Message]) -> list[str]:
    """Return the texts of the system messages, in their order."""
    return [message.content for message in messages if message.role == "system"]


def _to_history(value: Sequence[MessageLike]) -> list[Message]:
    if isinstance(value, (str, Message)):  # what a prompt may be, but no history
        raise InvalidArgumentError("messages", f"must be a sequence of messages, not a {type(value).__name__}")
    return list(to_messages("messages", value))


def _check_system(_: object, attribute: Attribute[Any], value: Any) -> None:
    check_encodable(attribute.name, value)


def _check_window(_: object, attribute: Attribute[Any], value: Any) -> None:
    check_count(attribute.name, value, minimum=1)


def _check_on_interrupt(_: object, attribute: Attribute[Any], value: Any) -> None:
    if value not in ("rollback", "keep"):
        raise InvalidArgumentError(attribute.name, f"must be 'rollback' or 'keep', not {value!r}")


@define(repr=False)
class Conversation:
    """The history of a chat, which grows by whole turns.

    Pass it to ``Client.stream`` or ``Client.ask``: after a clean end it holds the question and the answer. An
    interrupted turn (an error, ``break``, cancellation, Ctrl-C) leaves it as it was, or keeps what had come.

    Args:
        system: text for the model that is folded into the first user message sent; the wire has no system role.
        messages: the history so far, `Message` objects or ``{"role", "content"}`` mappings.
        max_messages: at most this many messages are sent, the newest; the history itself is never cut.
        on_interrupt: ``"rollback"`` forgets an interrupted turn, ``"keep"`` keeps the question and the text so far
            (with ``Message.partial`` True), if there is any text.

    Raises:
        InvalidArgumentError: an argument is not of its kind.

    Example:
        >>> chat = Conversation()
        >>> reply = Client().ask("Hello", conversation=chat)
        >>> [message.content for message in chat.messages]
        ['Hello', 'You said: Hello']
    """

    system: str | None = field(default=None, validator=optional(_check_system))
    # A list: a turn would copy a tuple of 10,000 twice. `messages` makes one of it when it is asked for.
    _messages: list[Message] = field(factory=list[Message], converter=_to_history, on_setattr=setters.NO_OP)
    max_messages: int = field(default=MAX_MESSAGES, kw_only=True, validator=_check_window)
    on_interrupt: OnInterrupt = field(default="rollback", kw_only=True, validator=_check_on_interrupt)
    _turn: Turn | None = field(default=None, init=False, eq=False)
    _shown: tuple[Message, ...] | None = field(default=None, init=False, eq=False)
    _systems: tuple[int, tuple[str, ...]] = field(
        default=(0, ()), init=False, eq=False
    )  # of the first so many messages

    @property
    def messages(self) -> tuple[Message, ...]:
        """The history: every committed message, oldest first."""
        with _claiming:
            if self._shown is None:
                self._shown = tuple(self._messages)
            return self._shown

    @property
    def last(self) -> Message | None:
        """The newest message, or None before the first turn."""
        return self._messages[-1] if self._messages else None

    @property
    def busy(self) -> bool:
        """True while a turn is being answered."""
        return self._turn is not None

    def prepare(self, question: Sequence[Message]) -> Turn:
        """Return a turn that asks ``question``; the clients call this, and begin the turn when they send."""
        return Turn(self, tuple(question), self._claim, self._newest_first, self._system_texts, self._end)

    def undo(self) -> tuple[Message, ...]:
        """Take the last question and its answer back and return them; ``()`` where there is none.

        Raises:
            ConversationBusyError: a turn is being answered.

        Example:
            >>> chat = Conversation(messages=[Message("user", "Hi"), Message("assistant", "Hello")])
            >>> len(chat.undo()), chat.messages
            (2, ())
        """
        with _claiming:
            self._check_idle()
            cut = len(self._messages)
            while cut and self._messages[cut - 1].role != "user":
                cut -= 1
            if not cut:
                return ()  # what came before any question, as a greeting, is not taken back
            while cut and self._messages[cut - 1].role == "user":
                cut -= 1
            removed = tuple(self._messages[cut:])
            self._shown, self._systems = None, (0, ())
            del self._messages[cut:]
        return removed

    def fork(self) -> Conversation:
        """Return a copy that goes its own way from here; a turn under way stays with the original.

        Example:
            >>> chat = Conversation()
            >>> reply = Client().ask("Hello", conversation=chat.fork())
            >>> chat.messages
            ()
        """
        return Conversation(self.system, self._messages, max_messages=self.max_messages, on_interrupt=self.on_interrupt)

    def to_dict(self) -> dict[str, Any]:
        """Return the conversation as JSON-ready data, which `from_dict` reads.

        Example:
            >>> chat = Conversation(messages=[Message("user", "Hello"), Message("assistant", "Hi!")])
            >>> Conversation.from_dict(chat.to_dict()) == chat
            True
        """
        return {
            "version": _FILE_VERSION,
            "system": self.system,
            "max_messages": self.max_messages,
            "on_interrupt": self.on_interrupt,
            "messages": [message.to_dict() for message in self._messages],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conversation:
        """Return the conversation that ``data`` describes.

        Args:
            data: what `to_dict` returns.

        Raises:
            InvalidArgumentError: it is not what `to_dict` writes; the text names the place.
        """
        _check_keys(data, required={"version", "messages"}, allowed={"system", "max_messages", "on_interrupt"})
        version: object = data["version"]
        if type(version) is not int or version != _FILE_VERSION:
            raise InvalidArgumentError("version", f"must be {_FILE_VERSION}, not {version!r}")
        messages: Any = data["messages"]
        if not isinstance(messages, list):
            raise InvalidArgumentError("messages", f"must be a list, not {type(messages).__name__}")
        options = {key: data[key] for key in ("max_messages", "on_interrupt") if key in data}
        return cls(data.get("system"), cast("list[MessageLike]", messages), **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the conversation to ``path``, as a whole or not at all.

        Args:
            path: the file, which need not be there.

        Raises:
            OSError: the file cannot be written; what is there is the older one or the new one, whole.

        Example:
            >>> Conversation(system="Be brief.").save("chat.json")
            >>> Conversation.load("chat.json").system
            'Be brief.'
        """
        storage.write(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Conversation:
        """Read the conversation that `save` wrote.

        Args:
            path: the file.

        Raises:
            ConversationFileError: the file is damaged; the text says where. The file is left as it is.
            OSError: the file cannot be read (FileNotFoundError where there is none).
        """
        data = storage.read(path)
        try:
            return cls.from_dict(data)
        except InvalidArgumentError as error:
            raise ConversationFileError(str(path), str(error)) from error

    def _check_idle(self) -> None:
        if self._turn is not None:
            raise ConversationBusyError(
                "this conversation is still being answered: finish or close that stream first, "
                "or take a .fork() for a second question at the same time"
            )

    def _claim(self, turn: Turn) -> None:
        with _claiming:
            self._check_idle()
            self._turn = turn

    def _newest_first(self) -> Iterator[Message]:
        return reversed(self._messages)

    def _system_texts(self) -> tuple[str, ...]:
        seen, texts = self._systems
        self._systems = (len(self._messages), (*texts, *system_texts(self._messages[seen:])))
        return self._systems[1]

    def _end(self, turn: Turn, added: tuple[Message, ...]) -> None:
        with _claiming:
            if self._turn is turn:
                # Nothing else changes the history meanwhile. A Ctrl-C before the last of these forgets the turn.
                self._turn = None
                self._shown = None
                self._messages.extend(added)

    def __repr__(self) -> str:
        return f"<Conversation of {len(self._messages)} messages{', busy' if self.busy else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy (pickle, copy, deepcopy) is a fork: the turn under way belongs to the original.
        return Conversation.from_dict, (self.to_dict(),)


# One lock for all: it is held for a few assignments, and a lock of one's own would have to survive pickling. It may be
# taken twice by one thread: an allocation under it can set off the garbage collector, which may end a dropped stream's
# turn.
_claiming = threading.RLock()


@in_every_child
def _claim_anew() -> None:
    global _claiming  # noqa: PLW0603 - a thread that a fork left behind may have held it
    _claiming = threading.RLock()


@frozen(eq=False, repr=False)
class Turn:
    """A claim on a conversation, from the question to the end of its answer.

    It is made before it begins, so that whoever claims a conversation holds what frees it: a Ctrl-C strikes anywhere.

    Attributes:
        conversation: whose turn it is.
        question: what is being asked.
    """

    conversation: Conversation
    question: tuple[Message, ...]
    _claim: Callable[[Turn], None]
    _newest_first: Callable[[], Iterator[Message]]
    _system_texts: Callable[[], tuple[str, ...]]
    _end: Callable[[Turn, tuple[Message, ...]], None]

    def begin(self) -> None:
        """Claim the conversation.

        Raises:
            ConversationBusyError: another turn is being answered.
        """
        self._claim(self)

    def newest_first(self) -> Iterator[Message]:
        """Return what the model has to see, from its end: the question and the history."""
        return chain(reversed(self.question), self._newest_first())

    def systems(self) -> tuple[str, ...]:
        """Return the texts that are not of the conversation but about it, the oldest first."""
        own = (self.conversation.system,) if self.conversation.system else ()
        return (*own, *self._system_texts(), *system_texts(self.question))

    def commit(self, answer: Message) -> None:
        """Add question and answer to the history, in one step, and free the conversation."""
        self._end(self, (*self.question, answer))

    def interrupt(self, partial_text: str) -> None:
        """End the turn without an answer, as ``on_interrupt`` says, and free the conversation."""
        keep = self.conversation.on_interrupt == "keep" and partial_text
        self._end(self, (*self.question, Message("assistant", partial_text, partial=True)) if keep else ())


def _check_keys(data: Mapping[str, Any], *, required: set[str], allowed: set[str]) -> None:
    keys = {str(key) for key in data}
    for missing in sorted(required - keys):
        raise InvalidArgumentError(missing, "is missing")
    for unknown in sorted(keys - required - allowed):
        raise InvalidArgumentError(unknown, f"is not known here; allowed are {', '.join(sorted(required | allowed))}")


__all__ = ["MAX_MESSAGES", "Conversation", "Message", "MessageLike", "Prompt", "Turn", "system_texts", "to_messages"]
