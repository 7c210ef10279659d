"""Responders of the embedded server that more than one test file needs."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator

import anyio

from aichatfree_sdk.server import ChatMessage


class Endless:
    """A responder that says one word and then waits until its client has gone."""

    def __init__(self) -> None:
        self.left = threading.Event()

    async def __call__(self, messages: tuple[ChatMessage, ...]) -> AsyncGenerator[str, None]:
        try:
            yield "Once"
            await anyio.sleep_forever()
        finally:
            self.left.set()
