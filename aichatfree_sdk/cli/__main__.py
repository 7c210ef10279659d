"""Where the command starts: says what is not installed, or runs it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_FAILURE = 1
_INTERRUPTED = 130


def main() -> None:
    """Run the ``aichatfree`` command with the arguments of the process, and exit."""
    try:
        code = _run()
    except KeyboardInterrupt:  # while importing
        code = _INTERRUPTED
    sys.exit(code)


def _run() -> int:
    if missing := [name for name in ("click", "rich", "prompt_toolkit") if find_spec(name) is None]:
        if sys.stderr is not None:
            sys.stderr.write(f"aichatfree needs {', '.join(missing)}: pip install 'aichatfree-sdk[cli]'\n")
        return _FAILURE
    from .app import run

    return run()


if __name__ == "__main__":
    main()
