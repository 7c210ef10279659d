"""Every Python block of the documentation runs, the blocks of a page one after another, as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aichatfree_sdk.testing import LocalServer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "```python" in page.read_text("utf-8")]
PASSWORD = "open sesame"  # the README's


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some save files
    names: dict[str, object] = {"__name__": "__main__"}
    with LocalServer(password=PASSWORD) as server:
        monkeypatch.setenv("AICHATFREE_BASE_URL", server.url)
        monkeypatch.setenv("AICHATFREE_PASSWORD", PASSWORD)
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            source = block.replace("http://127.0.0.1:8000", server.url)
            exec(compile(source, str(page), "exec"), names)
