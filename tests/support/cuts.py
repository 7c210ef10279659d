"""Every way to cut bytes in up to three pieces."""

from __future__ import annotations

from collections.abc import Iterator

EVERY = 1 << 20
CHARACTER = 4  # bytes, at most


def splits(data: bytes, *, between: int) -> Iterator[tuple[bytes, ...]]:
    """Yield ``data`` whole, cut once anywhere, and cut twice with no more than so many bytes between; 0: not twice."""
    size = len(data)
    yield (data,)
    for first in range(size + 1):
        yield data[:first], data[first:]
        for second in range(first, min(size, first + between) + 1) if between else ():
            yield data[:first], data[first:second], data[second:]
