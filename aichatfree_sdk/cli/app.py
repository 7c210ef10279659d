"""The commands and their options; what they do stands in a file for each."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import click

from aichatfree_sdk import AIChatFreeError, __version__

from .connection import Target, password_options, read_first_line, server_extra, target_options
from .exits import EPILOG, ExitCode, describe, exit_code
from .output import prepare_streams, put_error, put_line, put_usage, settle_streams

_SYSTEM_HELP = "Text that tells the model how to behave."
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@contextlib.contextmanager
def _guarded() -> Generator[None]:
    """Make one line on stderr and an exit code of every failure, never a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        code = ExitCode.BROKEN_PIPE
    except (AIChatFreeError, OSError) as error:
        put_error(describe(error))
        code = exit_code(error)
    else:
        return
    raise click.exceptions.Exit(code)


class Guarded(click.Group):
    """A group whose commands return their exit code, and none of whose failures is a traceback."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the command line; --help and --version print in here."""
        with _guarded():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        prepare_streams()
        with _guarded():
            ctx.exit(super().invoke(ctx))


def run() -> int:
    """Run the command with the arguments of the process and return its exit code."""
    try:
        code = int(cli.main(prog_name="aichatfree", standalone_mode=False))
    except click.Abort:  # Ctrl-C between the two
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        words = io.StringIO()
        error.show(words)
        put_usage(words.getvalue())
        code = error.exit_code
    settle_streams()
    return code


@click.group(cls=Guarded, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aichatfree")
def cli() -> None:
    """Chat with AIChatFree, or with any deployment that speaks its protocol.

    The deployment is AICHATFREE_BASE_URL, its password AICHATFREE_PASSWORD, and its signing key AICHATFREE_SECRET;
    options beat them. Neither password nor key is ever an argument, which other users of the machine could read.
    """


@cli.command(epilog=EPILOG)
@click.argument("prompt")
@target_options
@click.option("--system", metavar="TEXT", help=_SYSTEM_HELP)
@click.option("--conversation", type=_NEW_FILE, metavar="FILE", help="Continue this conversation, or begin it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the text.")
def ask(prompt: str, system: str | None, conversation: Path | None, as_json: bool, **target: Any) -> ExitCode:
    r"""Print the answer to PROMPT as it comes; "-" reads the prompt from stdin, and "--" goes before one like "-5".

    On a terminal the answer ends with a newline, and control characters in it are shown as \x1b instead of obeyed.
    A pipe or file gets the answer's own bytes, UTF-8.
    """
    from .ask import ask as run

    return run(prompt, Target(**target), system=system, path=conversation, as_json=as_json)


@cli.command(epilog=EPILOG)
@target_options
@click.option("--system", metavar="TEXT", help=_SYSTEM_HELP)
@click.option("--conversation", type=_NEW_FILE, metavar="FILE", help="Load this file, and save it after each turn.")
@click.option("--keep-history", is_flag=True, help="Remember what you type, in a file of your state directory.")
def chat(system: str | None, conversation: Path | None, keep_history: bool, **target: Any) -> ExitCode:
    """Keep a conversation. /help lists what else can be typed.

    Ctrl-C stops an answer and forgets its turn; at the prompt it ends the chat, as Ctrl-D does. With stdin or stdout
    not a terminal, every line of stdin is a message; the exit code is then that of the last turn that failed.
    """
    from .chat import chat as run

    return run(Target(**target), system=system, path=conversation, keep_history=keep_history)


@cli.command(epilog=EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@password_options
def serve(host: str, port: int, password_file: Path | None, secret_file: Path | None) -> ExitCode:
    """Run a server that speaks the protocol and echoes, until Ctrl-C (exit code 0).

    It wants the password and the signing key that the files or the environment name; without them, none.
    """
    if not host:  # to the operating system, the empty string is every interface
        raise click.BadParameter("must not be empty; 0.0.0.0 listens on every interface", param_hint="--host")
    password = read_first_line("--password-file", password_file) or os.environ.get("AICHATFREE_PASSWORD")
    secret = read_first_line("--secret-file", secret_file) or os.environ.get("AICHATFREE_SECRET", "")
    with server_extra():
        from aichatfree_sdk.server import create_app
        from aichatfree_sdk.server import serve as run
    try:
        run(create_app(password=password, secret=secret), host, port, on_started=put_line)
    except UnicodeError:  # of the IDNA codec
        raise click.BadParameter(f"{host!r} is no host name", param_hint="--host") from None
    return ExitCode.OK


@cli.command(epilog=EPILOG)
@target_options
@click.option("--ask", "ask_question", is_flag=True, help="Also ask the model a tiny question.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(ask_question: bool, as_json: bool, **target: Any) -> ExitCode:
    """Say what is configured, and whether the deployment answers and takes the password.

    Secrets are never shown, only whether they are set. Without --timeout each check may take 30 seconds.
    """
    from .doctor import doctor as run

    return run(Target(**target), ask_question=ask_question, as_json=as_json)
