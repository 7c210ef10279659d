"""What is published for those who read no HTML."""

from __future__ import annotations

import re
from pathlib import Path

BASE = "https://aichatfree-sdk.readthedocs.io/en/latest/"


def test_llms_txt_names_every_page_and_each_is_there_as_markdown(site: Path) -> None:
    named = re.findall(rf"\({re.escape(BASE)}(\S+\.md)\)", (site / "llms.txt").read_text("utf-8"))
    built = {str(page.relative_to(site).with_suffix(".md")) for page in site.rglob("*.html")} - {"404.md"}
    assert set(named) == built
    assert len(named) == len(built)
    for name in named:
        text = (site / name).read_text("utf-8")
        assert text.startswith("# "), name
        assert "<!-- generated" not in text, name
        assert "--8<--" not in text, name
        linked = re.findall(rf"\({re.escape(BASE)}([^\s)#]*)", text)
        assert not [link for link in linked if not (site / link).exists()], name


def test_the_whole_site_is_one_file_too(site: Path) -> None:
    text = (site / "llms-full.txt").read_text("utf-8")
    for page in ("Tutorial", "The protocol", "Changelog"):
        assert f"# {page}\n" in text


def test_a_copy_keeps_what_the_page_says(site: Path) -> None:
    home = (site / "index.md").read_text("utf-8")
    assert "**trio**\n\n```python\nimport trio\n" in home
    assert "[Picture: A terminal: " in home
    assert f"[Tutorial]({BASE}tutorial.md)" in home
    errors = (site / "howto" / "errors.md").read_text("utf-8")
    assert f"[`RetryPolicy`]({BASE}reference/replies.md#aichatfree_sdk.RetryPolicy)" in errors
    assert "[Picture: The transition table as a diagram]" in (site / "explanation" / "core.md").read_text("utf-8")


def test_what_is_generated_is_there_as_text(site: Path) -> None:
    assert "| starting | attempt started" in re.sub(" +", " ", (site / "explanation/core.md").read_text("utf-8"))
    assert "$ aichatfree doctor --help" in (site / "reference/command.md").read_text("utf-8")
