"""The checks of arguments that more than one room makes, each naming the argument and what is allowed."""

from __future__ import annotations

from .errors import InvalidArgumentError


def check_encodable(argument: str, text: object) -> str:
    """Return ``text`` if it is a str that UTF-8 can carry, or raise InvalidArgumentError."""
    if not isinstance(text, str):
        raise InvalidArgumentError(argument, f"must be a str, not {type(text).__name__}")
    if text.isascii():  # which takes no memory
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code_point, position = ord(text[error.start]), error.start
    else:
        return text
    # Raised outside the handler: UnicodeEncodeError carries the whole text, which may be a password.
    raise InvalidArgumentError(
        argument, f"has a lone surrogate (U+{code_point:04X}) at position {position}, which UTF-8 cannot carry"
    )


def check_text(argument: str, text: object) -> str:
    """Return ``text`` if it is a str that can be sent as a message: not empty, and UTF-8 can carry it."""
    if text == "":
        raise InvalidArgumentError(argument, "must not be empty; the model refuses an empty text")
    return check_encodable(argument, text)


def check_count(argument: str, value: object, *, minimum: int) -> int:
    """Return ``value`` if it is an int of at least ``minimum``, or raise InvalidArgumentError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InvalidArgumentError(argument, f"must be a whole number of at least {minimum}, not {value!r}")
    return value


# Far more than any call needs, and well below where the operating system's timers overflow (about 292 years).
MAX_SECONDS = 365 * 24 * 3600


def check_seconds(argument: str, value: object, *, optional: bool = False, positive: bool = False) -> float | None:
    """Return ``value`` as a float if it is a number of seconds within a year (or None where ``optional``).

    ``positive`` leaves 0 out.
    """
    if value is None and optional:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and _in_range(value, positive=positive):
        return float(value)
    allowed = f"a number of seconds from {'above 0' if positive else '0'} to {MAX_SECONDS} (a year)"
    raise InvalidArgumentError(
        argument, f"must be {allowed}{', or None for no limit' if optional else ''}, not {value!r}"
    )


def _in_range(seconds: float, *, positive: bool) -> bool:
    return 0 <= seconds <= MAX_SECONDS and not (positive and seconds == 0)
