"""Every way to cut bytes in up to three pieces."""

from __future__ import annotations

from collections.abc import Iterator


def splits(data: bytes, *, every: bool) -> Iterator[tuple[bytes, ...]]:
    """Yield ``data`` whole, cut once anywhere, and cut twice: anywhere, or with no more than a character between."""
    size = len(data)
    yield (data,)
    for first in range(size + 1):
        yield data[:first], data[first:]
        for second in range(first, size + 1 if every else min(size, first + 4) + 1):
            yield data[:first], data[first:second], data[second:]
