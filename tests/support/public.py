"""What a public name has that its users can call or read."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any


def members_of(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield a public name and, of a class, the methods and properties that are our own, as the source has them."""
    yield name, thing
    found: set[str] = set()
    for base in inspect.getmro(thing) if inspect.isclass(thing) else ():
        for member, value in vars(base).items() if base.__module__.startswith("aichatfree_sdk") else ():
            is_code = isinstance(value, (property, classmethod, staticmethod)) or inspect.isfunction(value)
            if is_code and not member.startswith("_") and member not in found:
                found.add(member)
                yield f"{name}.{member}", value
