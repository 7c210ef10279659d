"""What tables of the pages say of the code, looked up in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import attrs
import pytest
from pages import ROOT

import aichatfree_sdk
from aichatfree_sdk import RetryPolicy, Timeout
from aichatfree_sdk.core.failure import FailureKind
from aichatfree_sdk.core.retry import RETRYABLE_FAILURES, RETRYABLE_STATUSES

PACKAGE = Path(aichatfree_sdk.__file__).parent


def rows(page: str) -> list[list[str]]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def texts_of(path: Path) -> list[str]:
    """Return the texts that a file can show, with NUL where a value goes."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


TEXTS = "\n".join(text for path in sorted(PACKAGE.rglob("*.py")) for text in texts_of(path))
QUOTED = [
    pytest.param(*quoted.groups(), id=quoted[0][:60])
    for row in rows("howto/errors.md")
    if (quoted := re.match(r"`(\w+)`<br>`(.+)`$", row[0]))
]


def stretches(words: list[str]) -> list[str]:
    """Return the words in as few stretches as the code's texts have them in."""
    found: list[str] = []
    while words:
        end = next((end for end in range(len(words), 0, -1) if " ".join(words[:end]) in TEXTS), 1)
        found.append(" ".join(words[:end]))
        words = words[end:]
    return found


@pytest.mark.parametrize(("error", "message"), QUOTED)
def test_a_quoted_error_says_what_the_code_says(error: str, message: str) -> None:
    assert issubclass(getattr(aichatfree_sdk, error), aichatfree_sdk.AIChatFreeError)
    # What stands in brackets is another's: the server's, the operating system's. So is httpx's word on SOCKS.
    own = re.sub(r"^(?:\w+(?:\[0\])?: )+|Using SOCKS.*|\(.*?(?:\)|$)|… answered \d+|…", " ", message).split()
    own = [word for word in own if re.search(r"\w", word)]
    assert own or "answered" in message or "SOCKS" in message
    # A message is put together from a few texts; each of them is longer than a word.
    assert len(stretches(own)) <= 1 + len(own) // 3, stretches(own)


def test_there_are_quoted_errors() -> None:
    assert len(QUOTED) > 40


def test_the_table_of_retries_is_that_of_the_code() -> None:
    table = {row[0]: row[1].startswith("yes") for row in rows("explanation/retries.md") if len(row) == 3}
    statuses: set[int] = set()
    for failure, again in table.items():
        if again and failure[0].isdigit():
            statuses |= {int(number) for number in re.findall(r"\b\d{3}\b", failure) if number != "500"}
            for first, last in re.findall(r"(\d{3}) to (\d{3})", failure):
                statuses |= set(range(int(first), int(last) + 1))
    assert statuses == RETRYABLE_STATUSES
    assert {failure for failure, again in table.items() if again and not failure[0].isdigit()} == {
        "no connection: refused, no such host, TLS, a proxy",
        "no connection in `Timeout.connect`",
        "a kept connection found dead before a byte came",
    }
    assert {FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT, FailureKind.STALE} == RETRYABLE_FAILURES
    assert not RetryPolicy().retry_timeouts


def test_the_table_of_clocks_has_the_defaults() -> None:
    shown = {row[0].strip("`"): row[2] for row in rows("howto/timeouts.md") if len(row) == 4 and row[0] != "clock"}
    assert shown == {name: "none" if value is None else f"{value:g}" for name, value in attrs.asdict(Timeout()).items()}
