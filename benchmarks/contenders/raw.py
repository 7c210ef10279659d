"""No HTTP library: sockets, and the least that reads a chunked answer. It is the floor, and no client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

from .question import payload


def request(url: str) -> bytes:
    parts = urlsplit(url)
    body = json.dumps(payload()).encode()
    head = f"POST {parts.path}/api/generate HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextlib.contextmanager
def client(url: str, streams: int) -> Iterator[tuple[str, socket.socket]]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        yield url, connection


def answer(client: tuple[str, socket.socket], texts: list[str]) -> None:
    url, connection = client
    connection.sendall(request(url))
    with connection.makefile("rb") as file:
        while file.readline() != b"\r\n":
            pass
        while size := int(file.readline(), 16):
            texts.append(file.read(size).decode())
            file.readline()
        file.readline()


@contextlib.asynccontextmanager
async def async_client(
    url: str, streams: int
) -> AsyncIterator[tuple[str, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]]:
    yield url, []


async def async_answer(
    client: tuple[str, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]], texts: list[str]
) -> None:
    url, idle = client
    parts = urlsplit(url)
    reader, writer = idle.pop() if idle else await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request(url))
    await reader.readuntil(b"\r\n\r\n")
    while size := int(await reader.readline(), 16):
        texts.append((await reader.readexactly(size)).decode())
        await reader.readline()
    await reader.readline()
    idle.append((reader, writer))
