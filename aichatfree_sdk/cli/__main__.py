"""Where the command starts: says what is not installed, or runs it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_FAILURE = 1
_INTERRUPTED = 130


def main() -> None:
    """Run the ``aichatfree`` command with the arguments of the process, and exit."""
    if missing := [name for name in ("click", "rich", "prompt_toolkit") if find_spec(name) is None]:
        if sys.stderr is not None:
            sys.stderr.write(f"aichatfree needs {', '.join(missing)}: pip install 'aichatfree-sdk[cli]'\n")
        sys.exit(_FAILURE)
    try:
        from .app import cli

        cli.main(prog_name="aichatfree")
    except KeyboardInterrupt:  # while importing, or between the commands' own handlers
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
