"""The signature of a request: the one thing a server checks before it looks at anything else."""

from __future__ import annotations

from hashlib import sha256


def generate_signature(time: int, text: str, secret: str = "") -> str:
    """Return the ``sign`` field of a request.

    Args:
        time: the request's ``time`` field, milliseconds since the Unix epoch.
        text: the text of the last message, exactly as it is sent.
        secret: the deployment's key; the public site has none, which is ``""``.

    Returns:
        The lower-case hexadecimal SHA-256 of ``"{time}:{text}:{secret}"`` in UTF-8.

    Raises:
        UnicodeEncodeError: ``text`` or ``secret`` holds a lone surrogate, which UTF-8 cannot carry.

    Example:
        >>> generate_signature(1700000000000, "Привет!")
        '690541cd6fe27026027e96b6934f66b18e521aaf07829ed8a78ec0232c88f060'
    """
    return sha256(f"{time}:{text}:{secret}".encode()).hexdigest()
