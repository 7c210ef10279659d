"""What users test their own code with; each name is imported when it is first used, with what it needs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aichatfree_sdk.testing.local_server import LocalServer
    from aichatfree_sdk.testing.scripted import AsyncScriptedTransport, ScriptedResponse, ScriptedTransport

__all__ = ["AsyncScriptedTransport", "LocalServer", "ScriptedResponse", "ScriptedTransport"]

# name -> module; a new name goes here, into __all__ and into the block for type checkers above
_LAZY = {
    "AsyncScriptedTransport": "aichatfree_sdk.testing.scripted",
    "LocalServer": "aichatfree_sdk.testing.local_server",
    "ScriptedResponse": "aichatfree_sdk.testing.scripted",
    "ScriptedTransport": "aichatfree_sdk.testing.scripted",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
