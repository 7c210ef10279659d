"""A loop over aiohttp, as one writes it by hand who wants each delta as it was sent."""

from __future__ import annotations

import codecs

import aiohttp

from .question import payload


def async_client(url: str, streams: int) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=streams)
    return aiohttp.ClientSession(url + "/", connector=connector, timeout=aiohttp.ClientTimeout(sock_read=60))


async def async_answer(client: aiohttp.ClientSession, texts: list[str]) -> None:
    decode = codecs.getincrementaldecoder("utf-8")().decode
    async with client.post("api/generate", json=payload()) as response:
        response.raise_for_status()
        async for chunk, _ in response.content.iter_chunks():
            texts.append(decode(chunk))
