"""g4f's own client, over the provider of `g4f_provider`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiohttp import TCPConnector
from g4f.client import AsyncClient

from .g4f_provider import Provider
from .question import MESSAGES


@contextlib.asynccontextmanager
async def async_client(url: str, streams: int) -> AsyncIterator[tuple[AsyncClient, TCPConnector]]:
    Provider.url = url
    async with TCPConnector(limit=streams) as connector:
        yield AsyncClient(provider=Provider), connector


async def async_answer(client: tuple[AsyncClient, TCPConnector], texts: list[str]) -> None:
    g4f, connector = client
    async for chunk in g4f.chat.completions.create(MESSAGES, "m", stream=True, connector=connector):
        if chunk.choices and chunk.choices[0].delta.content:
            texts.append(chunk.choices[0].delta.content)
