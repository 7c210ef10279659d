"""ollama's SDK."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx
from ollama import AsyncClient, Client

from .question import MESSAGES


@contextlib.contextmanager
def client(url: str, streams: int) -> Iterator[Client]:
    yield Client(url, timeout=60)


def answer(client: Client, texts: list[str]) -> None:
    for chunk in client.chat("m", MESSAGES, stream=True):
        if chunk.message.content:
            texts.append(chunk.message.content)


@contextlib.asynccontextmanager
async def async_client(url: str, streams: int) -> AsyncIterator[AsyncClient]:
    limits = httpx.Limits(max_connections=streams, max_keepalive_connections=streams)
    yield AsyncClient(url, timeout=60, limits=limits)


async def async_answer(client: AsyncClient, texts: list[str]) -> None:
    async for chunk in await client.chat("m", MESSAGES, stream=True):
        if chunk.message.content:
            texts.append(chunk.message.content)
