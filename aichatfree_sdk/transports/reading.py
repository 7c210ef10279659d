"""How much asyncio reads at once."""

from __future__ import annotations

from typing import Any

# Bytes.
_AT_ONCE = 65_536


def read_less(stream: Any) -> None:
    """Have a transport of asyncio's read 64 KiB at a time, as trio does and httpcore asks for.

    For its own 256 KiB, glibc maps fresh memory at each read and gives it back after it (above 128 KiB:
    M_MMAP_THRESHOLD in mallopt(3)), which is a third of what a delta costs where many streams are open. CPython has no
    public way to say it: see ``_SelectorTransport.max_size`` in its asyncio/selector_events.py. Other loops have no
    such thing.

    Args:
        stream: the transport, or httpcore's network stream, which holds anyio's, which holds it.
    """
    for held in ("_stream", "_transport"):
        stream = getattr(stream, held, stream)
    if hasattr(stream, "max_size"):
        stream.max_size = _AT_ONCE
