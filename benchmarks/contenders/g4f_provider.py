"""A provider of g4f's in the style of its AIChatFree, while it had one: a loop over aiohttp, a session a call.

It asks for whatever has come, so deltas that came together are one to it, and what the network cut may lose characters.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from aiohttp import ClientSession, TCPConnector
from g4f.providers.base_provider import AsyncGeneratorProvider
from g4f.requests.raise_for_status import raise_for_status

from .question import MESSAGES, payload


class Provider(AsyncGeneratorProvider):
    working = True
    supports_stream = True
    url = ""

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: list[dict[str, str]], proxy: str | None = None, connector: Any = None, **_: Any
    ) -> AsyncGenerator[str, None]:
        headers = {"Accept": "*/*", "Content-Type": "text/plain;charset=UTF-8", "Referer": f"{cls.url}/"}
        async with (
            ClientSession(connector=connector, connector_owner=False, headers=headers) as session,
            session.post(f"{cls.url}/api/generate", data=json.dumps(payload()), proxy=proxy) as response,
        ):
            await raise_for_status(response)
            async for chunk in response.content.iter_any():
                yield chunk.decode(errors="ignore")


@contextlib.asynccontextmanager
async def async_client(url: str, streams: int) -> AsyncIterator[TCPConnector]:
    Provider.url = url
    async with TCPConnector(limit=streams) as connector:
        yield connector


async def async_answer(client: TCPConnector, texts: list[str]) -> None:
    async for text in Provider.create_async_generator("", MESSAGES, connector=client):
        texts.append(text)
