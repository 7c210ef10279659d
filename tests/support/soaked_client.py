"""A client that asks for many thousands of answers in a process of its own, and tells what that process holds.

Run as ``python soaked_client.py RUNTIME URL WARM_UP ANSWERS``, with the URL of an `answering_server`, it prints what it
held after WARM_UP answers and after ANSWERS more. Among the answers come all the ways in which one can fail or be left.
"""

from __future__ import annotations

import gc
import itertools
import json
import random
import sys
from collections.abc import Iterator
from typing import Any

import hygiene
from answering_server import text_of

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, Client, Conversation, RetryPolicy

# How often what happens, among 40. Retries are so rare that the answers earn them (see `RetryBudget`).
MIX = {"good": 27, "password": 1, "busy": 1, "dropped": 1, "closed": 2, "refused": 2, "cut": 2, "failed": 2, "held": 2}
ERRORS = {"refused": sdk.BadRequestError, "cut": sdk.StreamInterruptedError, "failed": sdk.StreamInterruptedError}
TURNS = 8  # of a conversation


def questions() -> Iterator[str]:
    kinds = [kind for kind, times in MIX.items() for _ in range(times)]
    rolled = random.Random(1)
    for number in itertools.count():
        if number % len(kinds) == 0:
            rolled.shuffle(kinds)
        yield f"{kinds[number % len(kinds)]} {number}"


def held(runtime: str, client: Any) -> dict[str, Any]:
    """Return what the process holds."""
    hygiene.forget_deadlines()
    gc.collect()
    return {
        "descriptors": len(hygiene.open_descriptors()),
        "threads": len(hygiene.running_threads()),
        "tasks": 0 if runtime == "sync" else len(hygiene.tasks()),
        "pool": repr(client._transport._client._transport._pool),
        "resident bytes": hygiene.resident_bytes(),
        "allocated blocks": sys.getallocatedblocks(),  # by Python, about one an object
    }


class Soak:
    """What both kinds of client share."""

    def __init__(self) -> None:
        self.answers = 0
        self.questions = questions()
        self.chat = Conversation()
        self.before = 0  # messages in it, before the question that is being asked

    def next(self) -> tuple[str, str]:
        if len(self.chat.messages) >= 2 * TURNS:
            self.chat = Conversation()
        self.before = len(self.chat.messages)
        question = next(self.questions)
        return question.partition(" ")[0], question

    def check(self, kind: str, question: str, text: str, error: sdk.AIChatFreeError | None) -> None:
        assert type(error) is ERRORS.get(kind, type(None)), (kind, error)
        whole = error is None and kind != "held"
        assert not self.chat.busy
        assert len(self.chat.messages) == self.before + 2 * whole
        if whole:
            assert text == text_of(question)
            self.answers += 1
            if self.answers % 500 == 0:
                gc.collect()  # Python would, too, but after many thousands: what waits for it is not held

    def run(self, client: Client, answers: int) -> None:
        end = self.answers + answers
        while self.answers < end:
            kind, question = self.next()
            text, error = "", None
            try:
                if kind == "password":
                    assert client.check_password()
                    continue
                with client.stream(question, conversation=self.chat) as stream:
                    for delta in stream:
                        text += delta
                        if kind == "held":
                            break
            except sdk.AIChatFreeError as raised:
                error = raised
            self.check(kind, question, text, error)
        assert client.ask("good at last").text == text_of("good at last")

    async def run_async(self, client: AsyncClient, answers: int) -> None:
        end = self.answers + answers
        while self.answers < end:
            kind, question = self.next()
            text, error = "", None
            try:
                if kind == "password":
                    assert await client.check_password()
                    continue
                async with client.stream(question, conversation=self.chat) as stream:
                    async for delta in stream:
                        text += delta
                        if kind == "held":
                            break
            except sdk.AIChatFreeError as raised:
                error = raised
            self.check(kind, question, text, error)
        assert (await client.ask("good at last")).text == text_of("good at last")


def main(runtime: str, url: str, *rounds: str) -> None:
    soak, measured = Soak(), []
    policy = RetryPolicy(base_delay=0)

    async def async_main() -> None:
        async with AsyncClient(url, retry=policy) as client:
            for answers in rounds:
                await soak.run_async(client, int(answers))
                measured.append(held(runtime, client))

    if runtime == "sync":
        with Client(url, retry=policy) as client:
            for answers in rounds:
                soak.run(client, int(answers))
                measured.append(held(runtime, client))
    else:
        hygiene.run(async_main, backend=runtime)
    print(json.dumps(measured))  # noqa: T201 - whoever started it reads this


if __name__ == "__main__":
    main(*sys.argv[1:])
