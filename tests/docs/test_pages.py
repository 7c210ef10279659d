"""Every page of the documentation does what it shows: see `pages` for how one is followed."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import ON_BOTH, PAGES, Reader, backends_of, blocks_of, name_of, needs_g4f

KINDS = {"python", "console", "text", "bash", "json", "html", "http"}

RUNS = [
    pytest.param(page, backend, id=f"{name_of(page)}-{backend}")
    for page in PAGES
    if {"python", "console"} & {block.kind for block in blocks_of(page.read_text("utf-8"))}
    for backend in backends_of(page)
]


@pytest.mark.parametrize(("page", "backend"), RUNS)
def test_it_does_what_it_shows(page: Path, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if needs_g4f(page) and find_spec("g4f") is None:
        pytest.skip("g4f is not installed: the nox session site installs it")
    monkeypatch.chdir(tmp_path)
    Reader(page, tmp_path, backend).follow()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_on_it_goes_unread(page: Path) -> None:
    blocks = blocks_of(page.read_text("utf-8"))
    assert {block.kind for block in blocks} <= KINDS
    shells = "".join(block.text for block in blocks if block.kind == "console")
    for block in blocks:
        assert block.output is None or (block.kind == "python" and not block.title), f"line {block.line}: not compared"
        assert block.text.count("or trio") == len(ON_BOTH.findall(block.text)), f"line {block.line}: not run on trio"
        assert block.kind != "console" or block.text.startswith("$ "), f"line {block.line}: no command"
        assert "terminal" not in block.title or len(block.text.splitlines()) > 1, (
            f"line {block.line}: nothing to wait for"
        )
        if block.kind == "python" and block.title:
            assert block.title.removesuffix(".py") in shells, "a file that no shell runs"
        if block.kind == "bash":
            assert not re.search(r"^\$ ", block.text, re.MULTILINE), "a session is a console block"
