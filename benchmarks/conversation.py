"""What a turn of a long conversation costs beside its request, on a transport that costs nothing: prints two ratios.

What a turn costs besides is that of a conversation's first turn, and taken off. The first ratio is of a turn that sends
the whole history, 10,000 messages; the second of one that sends the newest 99, as is the default.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable

from aichatfree_sdk import Client, Conversation, Message
from aichatfree_sdk.testing import ScriptedTransport

MESSAGES = 10_000
ROUNDS = 10
TEXT = "How much wood would a woodchuck chuck if a woodchuck could chuck wood? "


def bare(messages: tuple[Message, ...], question: str) -> bytes:
    """Serialise and sign a request."""
    parts = [
        {"role": "model" if message.role == "assistant" else message.role, "parts": [{"text": message.content}]}
        for message in messages
    ]
    parts.append({"role": "user", "parts": [{"text": question}]})
    now = time.time_ns() // 1_000_000
    sign = hashlib.sha256(f"{now}:{question}:".encode()).hexdigest()
    payload = {"messages": parts, "time": now, "pass": None, "sign": sign}
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def seconds(call: Callable[[], object], times: int) -> float:
    """Return the CPU seconds that so many calls take."""
    began = time.process_time()
    for _ in range(times):
        call()
    return time.process_time() - began


def measure(sent: int, turns: int) -> float:
    """Return what a history adds to a turn that sends so many of its messages, over a bare request of them."""
    history = [Message(("user", "assistant")[number % 2], f"{TEXT}{number}") for number in range(MESSAGES)]
    chat, short = Conversation(messages=history, max_messages=sent), Conversation(max_messages=1)
    client = Client("http://chat.example", transport=ScriptedTransport(*["ok"] * (2 * ROUNDS * turns + 1)))
    client.ask("warm up", conversation=chat)
    added = base = 0.0
    for _ in range(ROUNDS):  # in turn, so that whatever else the machine does meets all three
        added += seconds(lambda: client.ask("And you?", conversation=chat), turns)
        added -= seconds(lambda: client.ask("And you?", conversation=short), turns)
        messages = chat.messages[-sent + 1 :]
        base += seconds(functools.partial(bare, messages, "And you?"), turns)
    return added / base


if __name__ == "__main__":
    print(measure(MESSAGES + 1000, 2), measure(99, 50))
