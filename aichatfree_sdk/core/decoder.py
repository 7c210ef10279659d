"""Body bytes to text: incremental UTF-8, a size limit, and the failure trailer.

A Node deployment whose model fails mid-answer sends one more chunk, exactly ``Internal server error``, and ends the
body cleanly. That chunk is no text, but only the end of the body tells: it is held back until more bytes come. The
network may cut it anywhere; a transport that can tell hands the pieces over as `Cut`, and pieces of a chunk that begins
like the trailer are held back, too. Whole chunks that only add up to it ("Internal ", "server ", "error"), or a chunk
that only ends with it, are text. Most deltas take the short way: count, decode, done.
"""

from __future__ import annotations

import codecs

# About 30 million words. No model writes a hundredth of it; the limit keeps a runaway server from filling the memory
# of a client that keeps the text.
MAX_REPLY_BYTES = 128 * 2**20

# The body of a 500 of Node's Astro adapter, which it appends when the stream fails under it
# (docs/explanation/protocol.md).
FAILURE_TRAILER = "Internal server error"


class Cut(bytes):
    """A piece of a chunk that goes on with the next piece.

    Where a transport learns later that the chunk had ended there, it says so by an empty piece that is no `Cut`.

    Example:
        >>> from aichatfree_sdk.core.decoder import Cut
        >>> from aichatfree_sdk.testing import ScriptedTransport
        >>> one_chunk = [Cut(b"Internal ser"), b"ver error"]
        >>> Client(transport=ScriptedTransport(one_chunk)).ask("Hello")
        Traceback (most recent call last):
        aichatfree_sdk.errors.StreamInterruptedError: ...
    """


class UndecodableError(Exception):
    """The body is no text, from some byte on.

    Attributes:
        reason: what is wrong, as the second half of a sentence.
        text: what the same chunk held before that byte.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text


class Decoder:
    """Turns one body into text, chunk by chunk.

    Args:
        max_bytes: the most bytes a body may have.
        failure_trailer: the text that, as a chunk of its own at the end, means failure; None for none.
    """

    def __init__(self, max_bytes: int = MAX_REPLY_BYTES, failure_trailer: str | None = FAILURE_TRAILER) -> None:
        self.size = 0
        self._max_bytes = max_bytes
        self._trailer = (failure_trailer or "").encode()
        self._held: list[bytes] = []
        self._goes_on = False  # the last piece was a Cut
        self._watching = False  # something is held, or goes on
        self._unfinished = b""  # the beginning of a character

    def feed(self, chunk: bytes) -> str:
        """Return the text that ``chunk`` completes, which may be none.

        Raises:
            UndecodableError: the body is not UTF-8, or too long.
        """
        self.size += len(chunk)
        if self.size > self._max_bytes:
            self._reject_rest(chunk)
        if self._watching or type(chunk) is Cut or self._trailer.startswith(chunk):
            chunk = self._hold(chunk)
            self._watching = self._goes_on or bool(self._held)
        if not self._unfinished:
            try:
                return chunk.decode()
            except UnicodeDecodeError:
                pass  # it ends inside a character, or worse
        return self._to_text(chunk)

    def finish(self) -> tuple[str, bool]:
        """Return the text that was still held back, and whether the body ended with the failure trailer.

        Raises:
            UndecodableError: the body ends inside a character.
        """
        held = b"".join(self._held)
        if held and held == self._trailer:
            return "", True
        text = self._to_text(held)
        if self._unfinished:
            raise UndecodableError("ends inside a UTF-8 character", text)
        return text, False

    def _to_text(self, data: bytes) -> str:
        data = self._unfinished + data
        try:
            text, used = codecs.utf_8_decode(data, "strict", False)  # what stands behind codecs' incremental decoder
        except UnicodeDecodeError as error:
            bad, text = data[error.start], data[: error.start].decode()
            raise UndecodableError(f"is not UTF-8: byte {bad:#04x} ({error.reason})", text) from None
        self._unfinished = data[used:]
        return text

    def _hold(self, piece: bytes) -> bytes:
        """Take ``piece`` in, and return what is now known to be text."""
        continues = self._goes_on
        if not (piece or continues):
            return b""
        self._goes_on = isinstance(piece, Cut)
        if continues and not self._held:
            return piece  # of a chunk that has begun as text
        text = b""
        if not continues:
            text = b"".join(self._held)  # a whole chunk, and not the last
            self._held.clear()
        self._held.append(piece)
        chunk = b"".join(self._held)
        if self._trailer.startswith(chunk) and (self._goes_on or chunk == self._trailer):
            return text
        self._held.clear()
        return text + chunk

    def _reject_rest(self, chunk: bytes) -> None:
        allowed = chunk[: len(chunk) - (self.size - self._max_bytes)]
        text = self._to_text(b"".join((*self._held, allowed)))
        raise UndecodableError(f"is longer than max_reply_bytes, {self._max_bytes} bytes", text)
