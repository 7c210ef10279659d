"""What of the site is not written by hand: MkDocs calls this at every build, so none of it can be out of date.

A page says where with a comment of its own line, ``<!-- generated: NAME -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import command_help
import state_machine
import terminal
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PARTS: Mapping[str, Callable[[], str]] = {
    "command help": cache(command_help.markdown),
    "state machine": state_machine.svg,
    "transitions": state_machine.table,
}
PICTURES: Mapping[str, Callable[[], str]] = {
    "terminal.svg": cache(terminal.svg),  # `mkdocs serve` builds at every change of a page
}

BUILD_ON = "The Python blocks of a page go on from one another: run them from the top."


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures."""
    for name, draw in PICTURES.items():
        files.append(File.generated(config, name, content=draw()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put the parts in their places; a name that is none is a KeyError, and the build fails."""
    title, opening, rest = markdown.strip().split("\n\n", 2)
    plain = " ".join(re.sub(r"\[(.+?)\][(\[].+?[)\]]|`", r"\1", opening).split())
    page.meta["description"] = re.match(r".+?[.:](?= |$)", plain)[0]
    if not page.file.src_uri.startswith("reference/"):
        page.meta["search"] = {"boost": 4}  # who searches wants to do something, and the reference has every word
    if len(re.findall(r"^```python$", rest, re.MULTILINE)) > 1:
        opening += f"\n\n{BUILD_ON}"
    rest = re.sub(r"^<!-- generated: (.+) -->$", lambda mark: PARTS[mark[1]](), rest, flags=re.MULTILINE)
    return "\n\n".join([title, opening, rest])
