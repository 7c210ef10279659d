"""A loop over httpx, as one writes it by hand."""

from __future__ import annotations

import httpx

from .question import payload


def client(url: str, streams: int) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=60)


def answer(client: httpx.Client, texts: list[str]) -> None:
    with client.stream("POST", "/api/generate", json=payload()) as response:
        response.raise_for_status()
        for text in response.iter_text():
            texts.append(text)


def async_client(url: str, streams: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=streams, max_keepalive_connections=streams)
    return httpx.AsyncClient(base_url=url, timeout=60, limits=limits)


async def async_answer(client: httpx.AsyncClient, texts: list[str]) -> None:
    async with client.stream("POST", "/api/generate", json=payload()) as response:
        response.raise_for_status()
        async for text in response.aiter_text():
            texts.append(text)
