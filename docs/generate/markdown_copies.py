"""What a page's HTML has that its Markdown copy would lose: the plugin llmstxt calls this before it converts."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup
from mkdocs_llmstxt import autoclean


def preprocess(soup: BeautifulSoup, output: str) -> None:
    """Name the tabs and describe the pictures in words, and let links lead to other copies."""
    for tabs in soup.select(".tabbed-set"):
        labels = [label.get_text() for label in tabs.select(".tabbed-labels > label")]
        for label, block in zip(labels, tabs.select(".tabbed-block"), strict=True):
            block.insert(0, BeautifulSoup(f"<p><strong>{label}</strong></p>", "html.parser"))
    for picture in soup.find_all("img", alt=True):
        picture.replace_with(f"[Picture: {picture['alt']}]")
    for link in soup.find_all("a", href=re.compile(r"^[\w./-]+\.html(#|$)")):
        link["href"] = link["href"].replace(".html", ".md", 1)
    autoclean(soup)
