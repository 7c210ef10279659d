"""Which deployment a command talks to: the options for it, and a client that follows them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen

from aichatfree_sdk import Client, Conversation, InvalidArgumentError

if TYPE_CHECKING:
    from aichatfree_sdk.testing import LocalServer

_F = TypeVar("_F", bound=Callable[..., Any])

# A password is a line; this keeps /dev/zero from being read for ever.
_MAX_LINE = 64 * 1024

_EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@frozen
class Target:
    """Where a command's requests go."""

    local: bool = False
    base_url: str | None = None
    password_file: Path | None = None
    secret_file: Path | None = None
    timeout: float | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse what contradicts itself: --local is a deployment of its own."""
        if self.local and (self.base_url is not None or self.password_file or self.secret_file):
            raise click.UsageError("--local cannot be combined with --base-url, --password-file or --secret-file")


def password_options(command: _F) -> _F:
    """Add the options that name the files of the secrets; the secrets themselves are never arguments."""
    for name, what in (("secret", "Signing key"), ("password", "Site password")):
        text = f"{what}: the first line of this file; else AICHATFREE_{name.upper()}."
        command = click.option(f"--{name}-file", type=_EXISTING_FILE, metavar="PATH", help=text)(command)
    return command


def target_options(command: _F) -> _F:
    """Add the options of every command that talks to a deployment."""
    command = click.option("--timeout", type=float, metavar="SECONDS", help="For the whole call, retries included.")(
        command
    )
    command = password_options(command)
    command = click.option("--base-url", metavar="URL", help="The deployment; else AICHATFREE_BASE_URL.")(command)
    local = "Talk to an echo server started for this run; AICHATFREE_* and proxies are ignored."
    return click.option("--local", is_flag=True, help=local)(command)


def read_first_line(option: str, path: Path | None) -> str | None:
    """Return the first line of a secret's file, or None where no file was named.

    Raises:
        InvalidArgumentError: the line is empty, too long, or not UTF-8; the text does not repeat it.
        OSError: the file cannot be read.
    """
    if path is None:
        return None
    with path.open("rb") as file:
        line = file.readline(_MAX_LINE + 1).removesuffix(b"\n").removesuffix(b"\r")
    if not line:
        raise InvalidArgumentError(option, f"the first line of {path} is empty")
    if len(line) > _MAX_LINE:
        raise InvalidArgumentError(option, f"the first line of {path} is longer than {_MAX_LINE} bytes")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        start = error.start
    # Raised outside the handler: the UnicodeDecodeError holds the line.
    raise InvalidArgumentError(option, f"the first line of {path} is not UTF-8 at byte {start}")


def local_server() -> LocalServer:
    """Return an echo server on a free loopback port, not yet started."""
    with server_extra():
        from aichatfree_sdk.testing import LocalServer
    return LocalServer()


@contextlib.contextmanager
def server_extra() -> Generator[None]:
    """Say in one line what to install where importing the server fails for the lack of it."""
    try:
        yield
    except ImportError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        missing = error.name
    else:
        return
    raise click.ClickException(f"this needs {missing}: pip install 'aichatfree-sdk[cli,server]'")


@contextlib.contextmanager
def connect(target: Target) -> Generator[Client]:
    """Give a client of the target, and of nothing else, for the length of a ``with`` block."""
    if not target.local:
        with _remote_client(target) as client:
            yield client
        return
    import httpx

    # trust_env: not even a proxy variable that cannot be used is in the way of --local.
    # The empty strings beat AICHATFREE_PASSWORD and AICHATFREE_SECRET.
    with (
        local_server() as server,
        httpx.Client(trust_env=False) as http_client,
        Client(server.url, password="", secret="", timeout=target.timeout, http_client=http_client) as client,
    ):
        yield client


def _remote_client(target: Target) -> Client:
    password = read_first_line("--password-file", target.password_file)
    secret = read_first_line("--secret-file", target.secret_file)
    return Client(target.base_url, password=password, secret=secret, timeout=target.timeout)


def open_conversation(path: Path | None, system: str | None) -> Conversation:
    """Return the conversation in the file, or a new one where there is no file yet; ``system`` beats the file's."""
    conversation = Conversation()
    if path is not None:
        folder = Path(os.path.realpath(path)).parent
        if not os.access(folder, os.W_OK):  # better now than when the answer has come, and is paid for
            raise OSError(f"{path}: cannot be saved there: no such folder, or one that may not be written to")
        with contextlib.suppress(FileNotFoundError):
            conversation = Conversation.load(path)
    if system is not None:
        conversation.system = system
    return conversation
