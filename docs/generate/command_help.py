"""The help of the command, in the command's own words."""

from __future__ import annotations

from click import Command, Context

from aichatfree_sdk.cli.app import cli

WIDTH = 78  # what click takes of a terminal of 80 columns


def markdown() -> str:
    """Return a section for the command and one for each of its commands."""
    return "\n".join([section(cli), *(section(command, name) for name, command in cli.commands.items())])


def section(command: Command, name: str = "") -> str:
    """Return what ``--help`` prints, under a heading; the exit codes, which each help ends with, stand in the first."""
    words = f"aichatfree {name}".rstrip()
    context = Context(
        command, info_name=words, terminal_width=WIDTH, help_option_names=cli.context_settings["help_option_names"]
    )
    text = command.get_help(context)
    if name:
        text = text.partition("\n\n  Exit codes:")[0]
    return f"## {words}\n\n```text\n$ {words} --help\n{text}\n```\n"
