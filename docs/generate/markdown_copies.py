"""What a page's HTML has that its Markdown copy would lose: the plugin llmstxt calls this before it converts."""

from __future__ import annotations

import re
from pathlib import Path

from bs4 import BeautifulSoup
from mkdocs_llmstxt import autoclean

REFERENCE = Path(__file__).parent.parent / "reference"
SECTIONS = {path.name for path in REFERENCE.parent.iterdir() if path.is_dir()}


def preprocess(soup: BeautifulSoup, output: str) -> None:
    """Name the tabs, describe the pictures in words, and let links lead to other copies."""
    for tabs in soup.select(".tabbed-set"):
        labels = [label.get_text() for label in tabs.select(".tabbed-labels > label")]
        for label, block in zip(labels, tabs.select(".tabbed-block"), strict=True):
            block.insert(0, BeautifulSoup(f"<p><strong>{label}</strong></p>", "html.parser"))
    for picture in soup.select("img[alt], svg[aria-label]"):
        picture.replace_with(f"[Picture: {picture.get('alt') or picture['aria-label']}]")
    for link in soup.find_all("a", href=re.compile(r"^[\w./-]+\.html(#|$)")):
        link["href"] = link["href"].replace(".html", ".md", 1)
    places = places_of_names()
    up = "../" if Path(output).parent.name in SECTIONS else ""
    for reference in soup.find_all("autoref"):  # which are resolved after this
        if name := places.get(reference["identifier"]):
            reference.name, reference.attrs = "a", {"href": f"{up}reference/{name}"}
    autoclean(soup)


def places_of_names() -> dict[str, str]:
    """Return where in the reference each name stands."""
    pages = {path: path.read_text("utf-8") for path in REFERENCE.glob("*.md")}
    return {
        name: f"{path.name}#{name}"
        for path, text in pages.items()
        for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    }
