"""The targets, each a module of its own.

It has ``target(data)``, which raises where the code under test is wrong; ``SEEDS`` to start from, ``FINDINGS`` that
once made it raise, ``TOKENS`` that are worth putting into an input, and ``MAX_LEN`` of one in bytes.
"""

from __future__ import annotations

import importlib
from types import ModuleType

NAMES = ("decoder", "error-body", "dates", "base-url", "server", "terminal")


def module_name(name: str) -> str:
    return f"fuzz_{name.replace('-', '_')}"


def load(name: str) -> ModuleType:
    return importlib.import_module(module_name(name))
