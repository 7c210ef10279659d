"""How a target takes its case from the bytes of an input: from the front, and with what the end lacks being 0."""

from __future__ import annotations


class Source:
    """Reads an input once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def bytes(self, count: int) -> list[int]:
        return [self.byte() for _ in range(count)]

    def rest(self) -> bytes:
        return self._data[self._at :]
