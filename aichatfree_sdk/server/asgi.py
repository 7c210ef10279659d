"""The ASGI app: two routes, and an answer that is streamed one HTTP chunk per delta."""

# The file is not called app.py: a submodule `app` would shadow the `app` of `uvicorn aichatfree_sdk.server:app`.

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import attrs
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from aichatfree_sdk.server.deltas import deltas_of
from aichatfree_sdk.server.responder import Responder, UpstreamError, echo_responder
from aichatfree_sdk.server.wire import (
    MAX_BODY_BYTES,
    TOO_LARGE,
    ChatMessage,
    JsonObject,
    Refused,
    Site,
    error_body,
    read_history,
    read_object,
)

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

logger = logging.getLogger("aichatfree_sdk.server")

Recorder = Callable[[JsonObject], object]

FAILURE_TRAILER = b"Internal server error"
ANSWER_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain; charset=utf-8")],
}


def create_app(
    *,
    password: str | None = None,
    secret: str = "",
    responder: Responder | None = None,
    max_clock_skew: float | None = None,
) -> Starlette:
    """Build an ASGI app that speaks the AIChatFree protocol.

    Args:
        password: the site password that requests must carry; None or ``""`` means that none is needed.
        secret: the key that requests are signed with; the public site has none, which is ``""``.
        responder: takes the tuple of ``ChatMessage`` and returns an iterable or async iterable of str deltas;
            None means ``echo_responder``. What may block runs in a thread of its own.
        max_clock_skew: how far, in seconds, a request's time may be off; None means that nobody looks, and the
            deployments that do use 300.

    Returns:
        The app, for uvicorn or any other ASGI server that runs on asyncio.

    Raises:
        ValueError: ``max_clock_skew`` is negative, or ``secret`` holds a lone surrogate.
        TypeError: ``responder`` cannot be called.

    Example:
        >>> from aichatfree_sdk.server import create_app
        >>> app = create_app(password="open sesame")
        >>> [route.path for route in app.routes]
        ['/api/generate', '/api/auth']
    """
    site = Site(password=password, secret=secret, max_clock_skew=max_clock_skew)
    return build_app(site, responder or echo_responder)


def build_app(site: Site, responder: Responder, record: Recorder | None = None) -> Starlette:
    """Build the app; ``record`` is shown the body of every generate request, refused ones too."""
    if not callable(responder):
        raise TypeError(f"responder must be callable, not {type(responder).__name__}")

    async def generate(request: Request) -> Answer | Response:
        try:
            asked = read_object(await _body(request))
            if record is not None:
                record(asked)
            return Answer(responder, read_history(asked, site, time.time_ns() // 1_000_000))
        except Refused as refusal:
            return _refusal(refusal)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it

    async def auth(request: Request) -> Response:
        try:
            code = 0 if site.admits(read_object(await _body(request)).get("pass")) else -1
            return PlainTextResponse(b'{"code":%d}' % code)
        except Refused as refusal:
            return _refusal(refusal)
        except ClientDisconnect:
            return Response(status_code=400)

    app = Starlette(
        routes=[
            Route("/api/generate", generate, methods=["POST"]),
            Route("/api/auth", auth, methods=["POST"]),
        ],
        exception_handlers={404: _not_found, 405: _not_found},
    )
    app.router.redirect_slashes = False
    return app


@attrs.frozen
class Answer:
    """The response to a good request: 200 and the deltas, or 500 if the responder fails before the first one."""

    responder: Responder
    messages: tuple[ChatMessage, ...]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, for as long as there is somebody to read it."""
        async with anyio.create_task_group() as group:
            # uvicorn swallows what is sent to a client that is gone, so the end of the connection is all that tells.
            group.start_soon(_cancel_on_disconnect, receive, group.cancel_scope)
            await self._send_answer(send)
            group.cancel_scope.cancel()

    async def _send_answer(self, send: Send) -> None:
        started = False
        failure: Exception | None = None
        async with aclosing(deltas_of(self.responder, self.messages)) as deltas:
            while failure is None:
                try:
                    delta = (await anext(deltas)).encode()
                except StopAsyncIteration:
                    break
                except Exception as error:  # noqa: BLE001 - whatever user code raises, the protocol has a row for it
                    failure = error
                    break
                if delta:  # an empty chunk would mean the end of the body
                    if not started:
                        started = True
                        await send(ANSWER_START)
                    await send({"type": "http.response.body", "body": delta, "more_body": True})
                # Neither a responder that never waits nor uvicorn's send yields to the loop: let the others run.
                await anyio.lowlevel.checkpoint()
        if failure is not None:
            _log_failure(failure)
            if not started:
                await _send_whole(send, 500, _failure_body(failure))
                return
            # As the Node deployment does it: the last chunk tells, and the body ends as if all were well.
            await send({"type": "http.response.body", "body": FAILURE_TRAILER, "more_body": True})
        elif not started:
            await send(ANSWER_START)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _send_whole(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _failure_body(failure: Exception) -> bytes:
    if isinstance(failure, UpstreamError):
        return error_body(failure.message, failure.code)
    return error_body("The responder failed; the server's log says more.", type(failure).__name__)


def _log_failure(failure: Exception) -> None:
    if isinstance(failure, UpstreamError):
        logger.info("the upstream failed: %s", failure)
    else:
        logger.error("the responder failed", exc_info=failure)


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            chunks.append(chunk)
        else:
            chunks.clear()  # read on all the same: hung up on in the middle of it, a client never hears why
    if size > MAX_BODY_BYTES:
        raise Refused(413, TOO_LARGE)
    return b"".join(chunks)


def _refusal(refusal: Refused) -> Response:
    if not refusal.body:
        return Response(status_code=refusal.status)
    return PlainTextResponse(refusal.body, status_code=refusal.status)


async def _not_found(request: Request, error: Exception) -> Response:
    return Response(status_code=404)
