"""``aichatfree ask``: one question, one answer."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from aichatfree_sdk import AIChatFreeError, InvalidArgumentError

from .connection import Target, connect, open_conversation
from .exits import ExitCode, describe, exit_code
from .output import AnswerPrinter, put_json

if TYPE_CHECKING:
    from pathlib import Path

    from aichatfree_sdk import Reply


def ask(prompt: str, target: Target, *, system: str | None, path: Path | None, as_json: bool) -> ExitCode:
    """Ask, print the answer, save the conversation where ``path`` names a file for it, and return the exit code."""
    if not as_json:
        _ask_aloud(_read_prompt(prompt), target, system, path)
        return ExitCode.OK
    try:
        result, code = _ask_quietly(_read_prompt(prompt), target, system, path), ExitCode.OK
    except (AIChatFreeError, OSError) as error:
        result, code = {"error": error_as_data(error)}, exit_code(error)
    put_json(result)
    return code


def error_as_data(error: Exception) -> dict[str, str]:
    """Return an error as JSON-ready data."""
    return {
        "type": type(error).__name__,
        "message": describe(error),
        "partial_text": error.partial_text if isinstance(error, AIChatFreeError) else "",
    }


def reply_as_data(reply: Reply) -> dict[str, Any]:
    """Return an answer as JSON-ready data."""
    return {
        "text": reply.text,
        "timing": {"first_text": reply.timing.first_text, "total": reply.timing.total},
        "ended_by": reply.ended_by,
        "retries": reply.retries,
    }


def _ask_aloud(prompt: str, target: Target, system: str | None, path: Path | None) -> None:
    conversation = open_conversation(path, system)
    printer = AnswerPrinter()
    with connect(target) as client:
        try:
            with client.stream(prompt, conversation=conversation) as stream:
                for delta in stream:
                    printer.write(delta)
        finally:
            printer.end()
    if path is not None:
        conversation.save(path)


def _ask_quietly(prompt: str, target: Target, system: str | None, path: Path | None) -> dict[str, Any]:
    conversation = open_conversation(path, system)
    with connect(target) as client:
        reply = client.ask(prompt, conversation=conversation)
    if path is not None:
        try:
            conversation.save(path)
        except OSError as error:
            # The answer came, and is paid for: it is not lost with the file.
            raise AIChatFreeError(f"the answer could not be saved: {error}", partial_text=reply.text) from error
    return reply_as_data(reply)


def _read_prompt(prompt: str) -> str:
    if prompt != "-":
        # Where the locale is not UTF-8, Python hands the argument's bytes over as lone surrogates.
        return decode_line("PROMPT", os.fsencode(prompt)) if not _is_text(prompt) else prompt
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] # typeshed does not know of <&-
        raise OSError("there is no standard input to read the prompt from: it was closed")
    return decode_line("stdin", sys.stdin.buffer.read())


def _is_text(prompt: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in prompt)


def decode_line(source: str, data: bytes) -> str:
    """Return what was typed or piped as text, without the one newline at its end.

    Raises:
        InvalidArgumentError: it is not UTF-8.
    """
    try:
        return data.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(source, f"is not UTF-8: byte {error.start} is {data[error.start]:#04x}") from error
