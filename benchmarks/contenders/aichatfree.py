"""This SDK, as it comes."""

from __future__ import annotations

from aichatfree_sdk import AsyncClient, Client

from .question import PROMPT


def client(url: str, streams: int) -> Client:
    return Client(url)


def answer(client: Client, texts: list[str]) -> None:
    for text in client.stream(PROMPT):
        texts.append(text)


def async_client(url: str, streams: int) -> AsyncClient:
    return AsyncClient(url, max_connections=streams)


async def async_answer(client: AsyncClient, texts: list[str]) -> None:
    async with client.stream(PROMPT) as stream:
        async for text in stream:
            texts.append(text)
