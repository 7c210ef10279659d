"""The table of docs/reliability.md, written from what a run measured."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path

from attrs import define, field

# Between these two lines of the page stands what is measured; nothing there is typed by hand.
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LIBRARIES = ("aichatfree_sdk", "httpx", "httpx2", "anyio", "trio")


@define
class Row:
    """One area, and what became of its cases.

    Attributes:
        name: of the area.
        run: how many cases were begun.
        failed: the tests that failed: their first case that fails ends them.
        seconds: how long they took.
    """

    name: str
    run: int = 0
    failed: set[str] = field(factory=set)
    seconds: float = 0.0


def machine() -> str:
    """Return what the run was made on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} on {platform.machine()}, "
        f"{os.cpu_count()} cores; {libraries}"
    )


def write_report(page: Path, rows: list[Row]) -> None:
    """Put the rows between the two marks of ``page``; those of other runs stay if they were made on the same."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    measured, _, after = rest.partition(END)
    made_on, today = f"Measured on {machine()}.", datetime.datetime.now(tz=datetime.UTC).date()
    earlier = measured.splitlines() if made_on in measured else []
    lines = {line.split("|")[1].strip(): line for line in earlier if line.startswith("| ")}
    lines.pop("area", None)
    for row in rows:
        lines[row.name] = f"| {row.name} | {today} | {row.run:,} | {len(row.failed):,} | {row.seconds:,.0f} |"
    table = ["| area | day | cases run | tests failed | seconds |", "|---|---|--:|--:|--:|", *lines.values()]
    page.write_text("\n".join([before + BEGIN, "", made_on, "", *table, "", END + after]), "utf-8")
