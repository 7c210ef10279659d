"""This SDK over aiohttp."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aichatfree_sdk import AsyncClient
from aichatfree_sdk.transports.aiohttp import AiohttpTransport

from .aichatfree import async_answer


@contextlib.asynccontextmanager
async def async_client(url: str, streams: int) -> AsyncIterator[AsyncClient]:
    async with AiohttpTransport(max_connections=streams) as transport, AsyncClient(url, transport=transport) as client:
        yield client


__all__ = ["async_answer", "async_client"]
