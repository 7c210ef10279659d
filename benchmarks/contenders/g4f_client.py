"""g4f's own client, over the provider of `g4f_provider`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from g4f.client import AsyncClient

from .g4f_provider import Provider
from .question import MESSAGES


@contextlib.asynccontextmanager
async def async_client(url: str, streams: int) -> AsyncIterator[AsyncClient]:
    Provider.url = url
    yield AsyncClient(provider=Provider)


async def async_answer(client: AsyncClient, texts: list[str]) -> None:
    async for chunk in client.chat.completions.create(MESSAGES, "m", stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            texts.append(chunk.choices[0].delta.content)
