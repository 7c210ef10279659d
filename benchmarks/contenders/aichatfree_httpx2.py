"""This SDK over a client of httpx2."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx2

from aichatfree_sdk import AsyncClient, Client

from .aichatfree import answer, async_answer


@contextlib.contextmanager
def client(url: str, streams: int) -> Iterator[Client]:
    with httpx2.Client(timeout=60) as http, Client(url, http_client=http) as client:
        yield client


@contextlib.asynccontextmanager
async def async_client(url: str, streams: int) -> AsyncIterator[AsyncClient]:
    limits = httpx2.Limits(max_connections=streams, max_keepalive_connections=streams)
    async with (
        httpx2.AsyncClient(timeout=60, limits=limits) as http,
        AsyncClient(url, http_client=http, max_connections=streams) as client,
    ):
        yield client


__all__ = ["answer", "async_answer", "async_client", "client"]
