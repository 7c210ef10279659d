"""What a forked child has to do anew: it has its parent's memory, but none of its other threads."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_every_child(renew: Callable[[], None]) -> Callable[[], None]:
    """Have ``renew`` called at the beginning of every forked child; a decorator."""
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=renew)
    return renew
