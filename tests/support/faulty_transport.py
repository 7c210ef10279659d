"""A transport without a network, for `Client` and `AsyncClient`, of which a call, whichever is wanted, fails."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from answering_server import deltas_of
from attrs import define, field
from faults import Failing

from aichatfree_sdk.transports.base import FailureKind, Limits, Request, ResponseHead, TransportFailure


@define(eq=False)
class FaultyTransport(Failing):
    """Answers as the answering server does, without its sockets.

    Attributes:
        responses: those that were opened.
        asked: the questions that came.
        kept: there is a connection that was used before.
    """

    responses: list[_Response] = field(factory=list, init=False)
    asked: list[str] = field(factory=list, init=False)
    kept: bool = field(default=False, init=False)

    @property
    def left_open(self) -> list[Any]:
        return [response for response in self.responses if not response.closed]

    def open(self, request: Request, limits: Limits) -> _Response:
        reused, self.kept = self.kept, False
        self.called("open", reused=reused)
        self.responses.append(self._respond(request, reused=reused))
        return self.responses[-1]

    def close(self) -> None:
        pass

    def _respond(self, request: Request, *, reused: bool) -> _Response:
        if request.url.endswith("/api/auth"):
            return _Response(self, 200, [b'{"code":', b"0}"])
        question = json.loads(request.body)["messages"][-1]["parts"][0]["text"]
        self.asked.append(question)
        deltas = [delta.encode() for delta in deltas_of(question)]
        match question.partition(" ")[0]:
            case "refused":
                return _Response(self, 400, [b'{"error":{"message":', b'"Not today."}}'])
            case "busy" if self.asked.count(question) == 1:
                return _Response(self, 503, [b"<html>"])
            case "dropped" if reused:
                raise TransportFailure(FailureKind.STALE, "as the server wants it")
            case "cut":
                return _Response(self, 200, deltas[:2], TransportFailure(FailureKind.BROKEN, "as the server wants it"))
            case "closed":
                return _Response(self, 200, deltas, headers=())
        return _Response(self, 200, deltas)


class _Response:
    def __init__(
        self,
        transport: FaultyTransport,
        status: int,
        chunks: Sequence[bytes],
        end: TransportFailure | None = None,
        headers: Sequence[tuple[str, str]] = (("transfer-encoding", "chunked"),),
    ) -> None:
        self.head = ResponseHead(status, headers)
        self.transport, self.closed = transport, False
        self.chunks = self.read(chunks, end)

    def read(self, chunks: Sequence[bytes], end: TransportFailure | None) -> Iterator[bytes]:
        received = b"HTTP/1.1 %d X\r\n\r\n" % self.head.status
        for chunk in chunks:
            self.transport.called("read", received=received)
            yield chunk
            received += chunk
        self.transport.called("read", received=received)
        if end is not None:
            raise end
        self.transport.kept = True

    def close(self) -> None:
        self.closed = True
        self.transport.called("close")


class AsyncFaultyTransport(FaultyTransport):
    """The same for `AsyncClient`."""

    async def open(self, request: Request, limits: Limits) -> Any:  # type: ignore[override]
        return _AsyncResponse(super().open(request, limits))

    async def aclose(self) -> None:
        pass


class _AsyncResponse:
    def __init__(self, response: _Response) -> None:
        self.head, self.response, self.chunks = response.head, response, self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self.response.chunks:
            return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.response.close()
