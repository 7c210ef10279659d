"""A server that speaks the AIChatFree protocol: to test against, to develop against, or to put a model behind.

It needs the extra: ``pip install 'aichatfree-sdk[server]'``. Run ``uvicorn aichatfree_sdk.server:app``, which reads
``AICHATFREE_PASSWORD`` and ``AICHATFREE_SECRET``, or build your own with ``create_app``.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

if missing := [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]:
    raise ImportError(
        f"aichatfree_sdk.server needs {' and '.join(missing)}: pip install 'aichatfree-sdk[server]'", name=missing[0]
    )

from aichatfree_sdk.server.asgi import create_app
from aichatfree_sdk.server.responder import Deltas, Responder, UpstreamError, echo_responder, scripted_responder
from aichatfree_sdk.server.run import serve
from aichatfree_sdk.server.wire import ChatMessage

if TYPE_CHECKING:
    from starlette.applications import Starlette

    app: Starlette

__all__ = [
    "ChatMessage",
    "Deltas",
    "Responder",
    "UpstreamError",
    "create_app",
    "echo_responder",
    "scripted_responder",
    "serve",
]


def __getattr__(name: str) -> Starlette:
    # Built when asked for: importing the package reads no environment.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    built = create_app(password=os.environ.get("AICHATFREE_PASSWORD"), secret=os.environ.get("AICHATFREE_SECRET", ""))
    globals()["app"] = built
    return built
