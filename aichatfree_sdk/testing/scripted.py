"""Transports without a network: each request gets the next answer of a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import field, frozen

from ..transports.base import AsyncResponse, Limits, Request, Response, ResponseHead, TransportFailure

Chunk: TypeAlias = str | bytes | TransportFailure


@frozen
class ScriptedResponse:
    """One response of a script.

    Args:
        chunks: the body as it comes; a str is sent as UTF-8, and a TransportFailure is raised when it is reached.
        status: the HTTP status.
        headers: the headers; without a Content-Length the body counts as chunked.

    Example:
        >>> from aichatfree_sdk.testing import ScriptedResponse, ScriptedTransport
        >>> busy = ScriptedResponse(status=503, headers={"Retry-After": "0"})
        >>> Client(transport=ScriptedTransport(busy, "Hello")).ask("Hi").retries
        1
    """

    chunks: Sequence[Chunk] = ()
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict[str, str])

    @property
    def head(self) -> ResponseHead:
        """The status and the headers."""
        framing = () if "content-length" in map(str.lower, self.headers) else (("transfer-encoding", "chunked"),)
        return ResponseHead(self.status, (*self.headers.items(), *framing))

    def body(self) -> Iterator[bytes]:
        """Yield the body.

        Raises:
            TransportFailure: one of the chunks is.
        """
        for chunk in self.chunks:
            if isinstance(chunk, TransportFailure):
                raise chunk
            yield chunk.encode() if isinstance(chunk, str) else chunk


Answer: TypeAlias = str | Sequence[Chunk] | ScriptedResponse | TransportFailure


class _Script:
    """The answers that are left, and the requests that came."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = iter(answers)
        self._requests: list[Request] = []

    @property
    def requests(self) -> tuple[dict[str, Any], ...]:
        """The JSON bodies of the requests so far."""
        return tuple(json.loads(request.body) for request in self._requests)

    def _take(self, request: Request) -> ScriptedResponse:
        self._requests.append(request)
        answer = next(self._answers, None)
        if answer is None:
            raise RuntimeError(f"the script has no answer for request number {len(self._requests)}")
        if isinstance(answer, TransportFailure):
            raise answer
        if isinstance(answer, ScriptedResponse):
            return answer
        return ScriptedResponse([answer] if isinstance(answer, str) else answer)


class _Opened:
    def __init__(self, response: ScriptedResponse) -> None:
        self.head = response.head
        self.chunks = response.body()

    def close(self) -> None:
        self.chunks.close()  # type: ignore[attr-defined]


class ScriptedTransport(_Script):
    """A blocking transport that answers from a script, for `Client` (``transport=``).

    Args:
        answers: one a request: a str (one delta), a sequence of deltas, a `ScriptedResponse`, or a TransportFailure
            to raise.

    Raises:
        RuntimeError: at a request that the script has no answer for.

    Example:
        >>> from aichatfree_sdk.testing import ScriptedTransport
        >>> transport = ScriptedTransport(["Hel", "lo"])
        >>> list(Client(transport=transport).stream("Hi"))
        ['Hel', 'lo']
    """

    def open(self, request: Request, limits: Limits) -> Response:
        """Return the next response of the script, whatever the request.

        Raises:
            TransportFailure: the answer is one.
            RuntimeError: the script has no answer left.
        """
        return _Opened(self._take(request))

    def close(self) -> None:
        """Do nothing."""


class _AsyncOpened:
    def __init__(self, response: ScriptedResponse) -> None:
        self.head = response.head
        self.chunks = _AsyncChunks(response.body())

    async def aclose(self) -> None:
        pass


class _AsyncChunks:
    """An async iterator that is no generator: dropping it needs no event loop."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


class AsyncScriptedTransport(_Script):
    """A transport that answers from a script, for `AsyncClient` (``transport=``).

    Args:
        answers: one a request, as for `ScriptedTransport`.

    Raises:
        RuntimeError: at a request that the script has no answer for.

    Example:
        >>> import asyncio
        >>> from aichatfree_sdk.testing import AsyncScriptedTransport
        >>> client = AsyncClient(transport=AsyncScriptedTransport("Hello"))
        >>> asyncio.run(client.ask("Hi")).text
        'Hello'
    """

    async def open(self, request: Request, limits: Limits) -> AsyncResponse:
        """Return the next response of the script, whatever the request.

        Raises:
            TransportFailure: the answer is one.
            RuntimeError: the script has no answer left.
        """
        return _AsyncOpened(self._take(request))

    async def aclose(self) -> None:
        """Do nothing."""
