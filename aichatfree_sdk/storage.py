"""A conversation file: written whole or not at all, and checked when it is read.

`write` puts the new text beside the old file, makes it durable (fsync), and renames it over the old one: at every
moment the path holds the old conversation or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, NoReturn, cast

from .errors import ConversationFileError

_NEW_FILE_MODE = 0o600  # a chat is private until its owner says otherwise


def write(path: str | os.PathLike[str], data: dict[str, Any]) -> None:
    """Write ``data`` as JSON to ``path`` atomically.

    Raises:
        OSError: it may not have been written; at ``path`` is what was there before or ``data``, either of them whole.
    """
    # A link keeps pointing where it points: the file behind it is the one that is replaced.
    target = Path(os.path.realpath(path))
    text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
    # Not made of the target's name, which may be as long as a name can be.
    temporary = target.parent / f".aichatfree-{os.urandom(8).hex()}.tmp"
    try:
        mode = _mode_of(target)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)  # O_CREAT is subject to the umask
        temporary.replace(target)
        _sync_directory(target.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error is the one that says what is wrong
            temporary.unlink()
        if isinstance(error, OSError):  # the name of the temporary file says nothing to whoever reads it
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _mode_of(target: Path) -> int:
    """Return the permissions that a file in the place of ``target`` has to have."""
    try:
        mode = target.lstat().st_mode  # a link here is one that could not be followed
    except FileNotFoundError:
        return _NEW_FILE_MODE
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):  # a rename would put a file in the place of /dev/null
        raise OSError(errno.EINVAL, "Not a regular file")
    return stat.S_IMODE(mode)


def _sync_directory(directory: Path) -> None:
    """Make the rename itself survive a power cut, where the system can."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:  # one that may be written to, and not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync a directory
            raise
    finally:
        os.close(descriptor)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the JSON object in the file at ``path``.

    Raises:
        ConversationFileError: it is not UTF-8, not JSON, or not an object.
        OSError: it cannot be read.
    """
    raw = Path(path).read_bytes()
    try:
        data = json.loads(raw.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ConversationFileError(
            str(path), f"is not UTF-8: byte {error.start} is {raw[error.start]:#04x}"
        ) from error
    except json.JSONDecodeError as error:
        problem = f"is not whole JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise ConversationFileError(str(path), problem) from error
    except (ValueError, RecursionError) as error:
        raise ConversationFileError(str(path), f"is not a conversation: {error}") from error
    if not isinstance(data, dict):
        raise ConversationFileError(str(path), f"is not a conversation: a JSON {type(data).__name__}, not an object")
    return cast("dict[str, Any]", data)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("an object names a key twice")
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
