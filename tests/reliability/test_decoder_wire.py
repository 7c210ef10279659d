"""However the network cuts a response, the transport tells its cuts from the ends of the server's own chunks.

httpx hands both over alike, and the failure trailer is a chunk of its own: text that only ends with the same words, or
chunks that add up to them, are an answer.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import httpcore
import httpx
import hygiene
import pytest
from attrs import define, field, frozen
from cases import Cases
from cuts import EVERY, splits
from scripted_server import END, chunk, head
from tls import client_context

from aichatfree_sdk import AsyncClient, Client, StreamInterruptedError
from aichatfree_sdk.core.decoder import FAILURE_TRAILER

ROW = "decoder"
URL = "http://chat.example"
CLOSE = "Connection: close"  # each answer has a connection of its own


@define
class Wire(httpcore.NetworkBackend):
    """A network whose every connection brings what it is told, one read after the other, and then ends."""

    reads: list[bytes] = field(factory=list)

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return httpcore.MockStream(list(self.reads))


@define
class AsyncWire(httpcore.AsyncNetworkBackend):
    reads: list[bytes] = field(factory=list)

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return httpcore.AsyncMockStream(list(self.reads))


@frozen
class Body:
    """A body as the server sends it, what its text is, and whether the last of it is a failure."""

    data: bytes
    text: str
    failed: bool = False
    head: bytes = head(200, "Transfer-Encoding: chunked", CLOSE)


def chunks(*texts: str, failed: bool = False) -> Body:
    return Body(b"".join(map(chunk, texts)) + END, "".join(texts[:-1] if failed else texts), failed)


LIKE_IT = f"An {FAILURE_TRAILER}"
BODIES = {
    "text that ends like the trailer": chunks(LIKE_IT),
    "chunks that add up to the trailer": chunks("Internal ", "server error"),
    "a beginning of the trailer": chunks("Да", "Internal serv"),
    "a trailer": chunks(FAILURE_TRAILER, failed=True),
    "a trailer after text": chunks("Иж", FAILURE_TRAILER, failed=True),
    "a trailer after its own words": chunks("I", FAILURE_TRAILER, FAILURE_TRAILER, failed=True),
    "characters and ends of lines": chunks("🏳️", "\u200d🌈\r\n", "\r\n1\r\nI"),
    "text of a length": Body(LIKE_IT.encode(), LIKE_IT, head=head(200, f"Content-Length: {len(LIKE_IT)}", CLOSE)),
    "text that ends by closing": Body("Жди 🙂".encode(), "Жди 🙂", head=head(200, CLOSE)),
}


def cut(body: Body, cases: Cases) -> list[list[bytes]]:
    """Return every way that the reads may bring ``body`` after its head."""
    data, ends = body.data, [place for match in re.finditer(b"\r\n", body.data) for place in match.span()]
    by_byte = [bytes([byte]) for byte in data]
    # Where a read that is a chunk's beginning or end can look like another.
    by_line = [[data[:start], data[start:end], data[end:]] for start, end in itertools.combinations(ends, 2)]
    ways = [*splits(data, between=cases.choose(0, EVERY)), by_byte, *by_line]
    return [[body.head, *filter(None, pieces)] for pieces in ways]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_every_split_of_the_network_equals_the_whole(body: Body, cases: Cases) -> None:
    wire, transport = Wire(), httpx.HTTPTransport(verify=client_context())
    transport._pool = httpcore.ConnectionPool(network_backend=wire)
    with httpx.Client(transport=transport) as http, Client(URL, http_client=http) as client:
        for wire.reads in cut(body, cases):
            text, failed, stream = "", False, client.stream("q")
            try:
                for delta in stream:
                    text += delta
            except StreamInterruptedError:
                failed = True
            assert (text, failed) == (body.text, body.failed), wire.reads
            cases.count()


@pytest.mark.parametrize("backend", hygiene.BACKENDS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_every_split_of_the_network_equals_the_whole_async(body: Body, backend: str, cases: Cases) -> None:
    async def main() -> None:
        wire, transport = AsyncWire(), httpx.AsyncHTTPTransport(verify=client_context())
        transport._pool = httpcore.AsyncConnectionPool(network_backend=wire)
        async with httpx.AsyncClient(transport=transport) as http, AsyncClient(URL, http_client=http) as client:
            for wire.reads in cut(body, cases):
                text, failed, stream = "", False, client.stream("q")
                try:
                    async for delta in stream:
                        text += delta
                except StreamInterruptedError:
                    failed = True
                assert (text, failed) == (body.text, body.failed), wire.reads
                cases.count()

    hygiene.run(main, backend=backend)
