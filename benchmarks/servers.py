"""The loopback server of the benchmarks: one answer, in the format of each contender, as fast or slow as asked.

Run as a script, it prints its port and serves until it is ended. The first parts of a request's path say what to send:
``/DELTAS/WORDS/MILLISECONDS/...`` is an answer of so many deltas, each of so many words, that far apart; 0 ms is all of
them at once. Every format carries the same deltas, one to an HTTP chunk. It looks at a request no more than it needs to
find its end: what is measured is the client.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import cache

WORD = "word "

HEAD = (
    "HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov 2026 06:00:00 GMT\r\nContent-Type: {}\r\n"
    "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


class Format:
    """What an answer looks like on the wire.

    Args:
        path: how the path of its requests ends.
        content_type: of the answer.
        delta: returns one delta.
        first: what comes before all deltas.
        last: what comes after them.
    """

    def __init__(
        self, path: str, content_type: str, delta: Callable[[str], str], first: str = "", last: str = ""
    ) -> None:
        self.path = path
        self.first = HEAD.format(content_type).encode() + chunk(first)
        self.delta = cache(lambda words: chunk(delta(WORD * words)))
        self.last = chunk(last) + END


def chunk(text: str) -> bytes:
    """Return ``text`` as one HTTP chunk; none where it is empty."""
    data = text.encode()
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def event(data: object, name: str = "") -> str:
    """Return a server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n" if name else f"data: {json.dumps(data)}\n\n"


def openai(delta: dict[str, str], finish: str | None = None) -> str:
    """Return a chunk of a chat completion."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1764136800, "model": "m"}
    return event({**common, "choices": [choice]})


def anthropic(name: str, **fields: object) -> str:
    """Return an event of a message."""
    return event({"type": name, **fields}, name)


def ollama(text: str, *, done: bool) -> str:
    """Return a line of a chat."""
    message = {"role": "assistant", "content": text}
    return json.dumps({"model": "m", "created_at": "2026-11-26T06:00:00.0Z", "message": message, "done": done}) + "\n"


_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
FORMATS = [
    Format("/api/generate", "text/plain; charset=utf-8", lambda text: text),
    Format(
        "/chat/completions",
        "text/event-stream",
        lambda text: openai({"content": text}),
        first=openai({"role": "assistant", "content": ""}),
        last=openai({}, "stop") + "data: [DONE]\n\n",
    ),
    Format(
        "/messages",
        "text/event-stream",
        lambda text: anthropic("content_block_delta", index=0, delta={"type": "text_delta", "text": text}),
        first=anthropic("message_start", message=_MESSAGE)
        + anthropic("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        last=anthropic("content_block_stop", index=0)
        + anthropic(
            "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 1}
        )
        + anthropic("message_stop"),
    ),
    Format(
        "/api/chat",
        "application/x-ndjson",
        lambda text: ollama(text, done=False),
        last=ollama("", done=True),
    ),
]


@cache
def whole(shape: Format, deltas: int, words: int) -> bytes:
    """Return an answer that comes at once."""
    return shape.first + shape.delta(words) * deltas + shape.last


class Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""
        self.timer: asyncio.TimerHandle | None = None

    def connection_lost(self, _: Exception | None) -> None:
        """Stop an answer that nobody reads."""
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer each request as its last byte comes."""
        self.received += data
        while (request := self.take()) is not None:
            deltas, words, milliseconds = map(int, request.split("/")[1:4])
            shape = next(shape for shape in FORMATS if request.endswith(shape.path))
            if not milliseconds:
                self.transport.write(whole(shape, deltas, words))
                continue
            # As real servers do, the head goes with the first delta.
            self.transport.write(shape.first + shape.delta(words))
            left = [shape.delta(words)] * (deltas - 1) + [shape.last]
            self.timer = self.later(left, milliseconds / 1000, asyncio.get_running_loop().time())

    def take(self) -> str | None:
        """Take a request out of what was received and return its path; None where it is not all there."""
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        lines = head.lower().split(b"\r\n")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        length = lengths[0] if lengths else 0
        if b"transfer-encoding: chunked" in lines:
            length = rest.find(b"0\r\n\r\n") + 5
            if length < 5:
                return None
        if len(rest) < length:
            return None
        self.received = rest[length:]
        return head.split(b" ", 2)[1].decode()

    def later(self, left: list[bytes], seconds: float, now: float) -> asyncio.TimerHandle:
        """Send the rest of an answer, one piece after the other; times are kept, so that a busy moment costs none."""

        def tick() -> None:
            self.transport.write(left.pop(0))
            self.timer = self.later(left, seconds, now + seconds) if left else None

        return asyncio.get_running_loop().call_at(now + seconds, tick)


async def serve() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
