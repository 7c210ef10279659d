"""This SDK, told to keep no text."""

from __future__ import annotations

from aichatfree_sdk import Client

from .question import PROMPT


def client(url: str, streams: int) -> Client:
    return Client(url)


def answer(client: Client, texts: list[str]) -> None:
    for text in client.stream(PROMPT, keep_text=False):
        texts.append(text)
