"""A page that does not do what it shows is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import Reader, backends_of, blocks_of

GOOD = """\
```python
import asyncio


async def main() -> None:
    print("on a loop")


asyncio.run(main())  # or trio.run(main)
```

```text
on a loop
```

```python title="hello.py"
from aichatfree_sdk import Client

print(Client().ask("Hello").text)
```

```console
$ export GREETING=Hi
$ python hello.py
You said: Hello
$ echo "$GREETING"; python -c "raise SystemExit(3)"; echo "exit code $?"
Hi
exit code 3
```

```console title="In another terminal"
$ aichatfree serve --port 8001
http://127.0.0.1:8001
```

```console
$ aichatfree ask --base-url http://127.0.0.1:8001 Hello
You said: Hello
```
"""
BAD = {
    "another output of Python": ("on a loop\n```", "on another loop\n```"),
    "less output of Python": ("on a loop\n```", "on a\n```"),
    "an error of Python": ('    print("on a loop")', "    raise ValueError"),
    "another output of a command": ("You said: Hello\n$", "You said: Bye\n$"),
    "a command that fails without a word": ("$ export GREETING=Hi", "$ test -e /nowhere"),
    "another exit code": ("SystemExit(3)", "SystemExit(4)"),
    "a file that fails": ("Client()", "Client(1)"),
    "another first line in another terminal": ("\nhttp://127.0.0.1:8001\n", "\nhttp://127.0.0.1:8002\n"),
    "a program that ends in another terminal": ("aichatfree serve --port 8001", "echo http://127.0.0.1:8001"),
}


def follow(text: str, folder: Path, backend: str = "asyncio") -> None:
    page = folder / "page.md"
    page.write_text(text, "utf-8")
    Reader(page, folder, backend).follow()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_good_page_passes(backend: str, tmp_path: Path) -> None:
    follow(GOOD, tmp_path, backend)
    assert backends_of(tmp_path / "page.md") == ("asyncio", "trio")


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_bad_page_does_not(change: tuple[str, str], tmp_path: Path) -> None:
    assert GOOD.count(change[0]) == 1
    with pytest.raises((AssertionError, ValueError)):
        follow(GOOD.replace(*change), tmp_path)


@pytest.mark.parametrize(("shown", "printed"), [("1", "True"), ("a...", "a\nb"), ("a", "a\n\nb")])
def test_what_is_nearly_the_output_is_not_it(shown: str, printed: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        follow(f"```python\nprint({printed!r})\n```\n\n```text\n{shown}\n```\n", tmp_path)


@pytest.mark.parametrize(
    "fence", ["~~~python\n1 / 0\n~~~", "````python\n1 / 0\n````", "``` {.python}\n1 / 0\n```", "```python\n"]
)
def test_a_fence_that_would_go_unread_is_refused(fence: str) -> None:
    with pytest.raises(ValueError, match="a fence that cannot be read"):
        blocks_of(f"{GOOD}\n{fence}\n")
