"""A server in a process of its own that does what the question says, so that its sockets, tasks and memory are its own.

A question is a kind of answer and a nonce, as in ``"good 17"``; `respond` says what each kind is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen


def deltas_of(question: str) -> list[str]:
    return [f"You said {question}: ", "один ", "deux ", "三 ", "👨‍👩‍👧‍👦."]


def text_of(question: str) -> str:
    """Return the whole answer to ``question``."""
    return "".join(deltas_of(question))


def _chunks(*deltas: str) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(delta.encode()), delta.encode()) for delta in deltas)


def _head(status: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", "content-type: text/plain; charset=utf-8", *headers, "", ""]).encode()


def _whole(status: int, body: bytes = b"") -> bytes:
    return _head(status, f"content-length: {len(body)}") + body


_CHUNKED, _END = _head(200, "transfer-encoding: chunked"), b"0\r\n\r\n"


def respond(question: str, *, first: bool, fresh: bool) -> tuple[bytes, str]:
    """Return the response, and what comes after it: "go on", "hang up", or "hold" the connection till the client has.

    Args:
        question: the kind of answer, and a nonce.
        first: whether the question comes for the first time.
        fresh: whether it is the first of its connection.
    """
    deltas = deltas_of(question)
    good = _CHUNKED + _chunks(*deltas) + _END, "go on"
    match question.partition(" ")[0]:
        case "good":
            return good
        case "busy":  # is overloaded the first time
            return (_whole(503, b"<html>try again later</html>"), "go on") if first else good
        case "dropped":  # finds a used connection dead
            return good if fresh else (b"", "hang up")
        case "closed":  # no framing: the answer ends with the connection
            return _head(200) + "".join(deltas).encode(), "hang up"
        case "refused":
            return _whole(400, b'{"error":{"message":"Not today."}}'), "go on"
        case "cut":  # breaks off in the middle
            return _CHUNKED + _chunks(*deltas[:2]), "hang up"
        case "failed":  # the model fails in the middle
            return _CHUNKED + _chunks(*deltas[:2], "Internal server error") + _END, "go on"
        case "held":  # begins, and never ends
            return _CHUNKED + _chunks(*deltas[:2]), "hold"
    raise ValueError(question)


class _Server:
    def __init__(self, tunnel: ssl.SSLContext | None) -> None:
        self._tunnel = tunnel
        self._asked: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled, where the server is stopped under a connection.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            fresh = True
            if self._tunnel is not None:
                await self._open_tunnel(reader, writer, self._tunnel)
            while await self._answer(reader, writer, fresh=fresh):
                fresh = False
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    @staticmethod
    async def _open_tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.start_tls(context)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, fresh: bool) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        if head.startswith("post /api/auth "):
            response, then = _whole(200, b'{"code":0}'), "go on"
        else:
            question = body["messages"][-1]["parts"][0]["text"]
            response, then = respond(question, first=question not in self._asked, fresh=fresh)
            if question.startswith("busy"):  # of the others, many thousands may come
                self._asked.add(question)
        writer.write(response)  # in one piece, so that it comes in one piece
        await writer.drain()
        if then == "hold":
            await reader.read()
        return then == "go on"


@frozen
class Address:
    """Where the server is.

    Attributes:
        url: its base URL.
        tls_url: the same over TLS, if it was given a certificate.
        proxy: the URL of a proxy that has it, over TLS, behind every tunnel.
    """

    url: str
    tls_url: str
    proxy: str


@contextlib.contextmanager
def running(certificate: Path | None = None) -> Iterator[Address]:
    """Run the server, over TLS too where there is a ``certificate`` (with its key, as PEM)."""
    command = [sys.executable, __file__, *([str(certificate)] if certificate else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Address(*json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()  # which is how it is told to stop, and how it learns that this process has died
            try:
                assert process.wait(10) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                raise


async def _main(certificate: str | None) -> None:
    loop, stop, context = asyncio.get_running_loop(), asyncio.Event(), None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    urls = []
    async with contextlib.AsyncExitStack() as stack:
        for scheme, tls, tunnel in (("http", None, None), ("https", context, None), ("http", None, context)):
            serve = _Server(tunnel).serve
            listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=4096)
            stack.callback(listener.close)
            urls.append(f"{scheme}://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        print(json.dumps(urls), flush=True)  # noqa: T201 - whoever started it reads this
        threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(stop.set)), daemon=True).start()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_main(*(sys.argv[1:] or [None])))
