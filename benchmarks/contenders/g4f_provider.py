"""A provider of g4f's in the style of its AIChatFree, while it had one: a loop over aiohttp, a session a call.

As that one did where its caller gave it no connector, each call makes and closes its own. It asks for whatever has
come, so deltas that came together are one to it, and what the network cut may lose characters.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from hashlib import sha256
from typing import Any

from aiohttp import BaseConnector, ClientSession
from g4f.providers.base_provider import AsyncGeneratorProvider
from g4f.requests.aiohttp import get_connector
from g4f.requests.raise_for_status import raise_for_status

from .question import MESSAGES


class Provider(AsyncGeneratorProvider):
    working = True
    supports_stream = True
    url = ""

    @classmethod
    async def create_async_generator(
        cls,
        model: str,
        messages: list[dict[str, str]],
        proxy: str | None = None,
        connector: BaseConnector | None = None,
        **_: Any,
    ) -> AsyncGenerator[str, None]:
        headers = {
            "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:122.0) Gecko/20100101 Firefox/122.0",
            "Accept": "*/*",
            "Accept-Language": "en-US,en;q=0.5",
            "Accept-Encoding": "gzip, deflate, br",
            "Content-Type": "text/plain;charset=UTF-8",
            "Referer": f"{cls.url}/",
            "Origin": cls.url,
        }
        async with ClientSession(connector=get_connector(connector, proxy), headers=headers) as session:
            timestamp = int(time.time() * 1e3)
            data = {
                "messages": [
                    {
                        "role": "model" if message["role"] == "assistant" else "user",
                        "parts": [{"text": message["content"]}],
                    }
                    for message in messages
                ],
                "time": timestamp,
                "pass": None,
                "sign": sha256(f"{timestamp}:{messages[-1]['content']}:".encode()).hexdigest(),
            }
            async with session.post(f"{cls.url}/api/generate", json=data, proxy=proxy) as response:
                await raise_for_status(response)
                async for chunk in response.content.iter_any():
                    yield chunk.decode(errors="ignore")


@contextlib.asynccontextmanager
async def async_client(url: str, streams: int) -> AsyncIterator[type[Provider]]:
    Provider.url = url
    yield Provider


async def async_answer(client: type[Provider], texts: list[str]) -> None:
    async for text in client.create_async_generator("", MESSAGES):
        texts.append(text)
