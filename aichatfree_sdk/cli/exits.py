"""How the command ends.

Exit codes:
    0    all is well
    1    another failure: a file, a port, a missing extra
    2    the command line, an option or a variable is wrong
    3    the network: no connection, one lost before the answer, a timeout
    4    the server refused the password or the signature
    5    the server refused or failed: any other status
    6    the answer was cut (by a lost connection, too), empty or invalid;
         what had come was printed
    130  Ctrl-C
    141  the reader of the output went away before its end (as in "| head -1")
"""

from __future__ import annotations

from enum import IntEnum

from aichatfree_sdk.errors import (
    AIChatFreeError,
    APIStatusError,
    AuthenticationError,
    ConnectError,
    EmptyReplyError,
    InvalidArgumentError,
    InvalidPasswordError,
    InvalidReplyError,
    InvalidSignatureError,
    NotFoundError,
    RedirectError,
    RequestTimeoutError,
    StreamInterruptedError,
    TotalTimeoutError,
    TransportError,
)


class ExitCode(IntEnum):
    """The exit codes; the module's docstring, which the help shows, says what they mean."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NETWORK = 3
    CREDENTIALS = 4
    SERVER = 5
    BAD_ANSWER = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141  # as the shell reports a program that SIGPIPE ended


# The first row that fits holds. The hint is what the SDK's own text, written for Python, cannot know.
_TABLE: tuple[tuple[type[AIChatFreeError], ExitCode, str], ...] = (
    (InvalidArgumentError, ExitCode.USAGE, ""),
    (InvalidPasswordError, ExitCode.CREDENTIALS, "AICHATFREE_PASSWORD or --password-file"),
    (InvalidSignatureError, ExitCode.CREDENTIALS, "AICHATFREE_SECRET or --secret-file"),
    (AuthenticationError, ExitCode.CREDENTIALS, "--password-file or --secret-file"),
    (NotFoundError, ExitCode.SERVER, "AICHATFREE_BASE_URL or --base-url"),
    (RedirectError, ExitCode.SERVER, "AICHATFREE_BASE_URL or --base-url"),
    (APIStatusError, ExitCode.SERVER, ""),
    (ConnectError, ExitCode.NETWORK, "AICHATFREE_BASE_URL or --base-url"),
    (TotalTimeoutError, ExitCode.NETWORK, "--timeout"),
    (RequestTimeoutError, ExitCode.NETWORK, ""),
    (TransportError, ExitCode.NETWORK, ""),
    (StreamInterruptedError, ExitCode.BAD_ANSWER, ""),
    (EmptyReplyError, ExitCode.BAD_ANSWER, ""),
    (InvalidReplyError, ExitCode.BAD_ANSWER, ""),
    (AIChatFreeError, ExitCode.FAILURE, ""),
)

# The help shows the table of the docstring; "\b" keeps click from rewrapping it. -OO takes docstrings away.
EPILOG = "\b\n" + (__doc__ or "").partition("\n\n")[2]


def exit_code(error: Exception) -> ExitCode:
    """Return how the command ends after ``error``."""
    return next((code for kind, code, _ in _TABLE if isinstance(error, kind)), ExitCode.FAILURE)


def describe(error: Exception) -> str:
    """Return what happened and what to do; it may hold a server's words and still has to be made safe."""
    hint = next((hint for kind, _, hint in _TABLE if isinstance(error, kind)), "")
    return f"{error} (here: {hint})" if hint else str(error)
