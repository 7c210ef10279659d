"""No link of the built site leads nowhere, and nothing is fetched from anywhere else."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

bs4 = pytest.importorskip("bs4", reason="beautifulsoup4 is installed by the nox session site only")

FETCHED = {"script": "src", "img": "src", "source": "src", "link": "href"}
# RFC 3986, and the host as people write them; a full stop or a bracket at the end is the sentence's.
OUTSIDE = re.compile(
    r"https://(?:[a-z0-9-]+\.)+[a-z]{2,}(?:/(?:[A-Za-z0-9._~/%+@-]*[A-Za-z0-9_~/-])?)?(?:#[A-Za-z0-9._-]+)?"
)


@cache
def parse(page: Path) -> Any:
    return bs4.BeautifulSoup(page.read_text("utf-8"), "html.parser")


@cache
def anchors(page: Path) -> frozenset[str]:
    return frozenset(tag["id"] for tag in parse(page).find_all(id=True))


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_every_link_inside_leads_to_a_page_and_a_place_in_it(site: Path) -> None:
    broken: list[str] = []
    seen = 0
    for page in pages(site):
        for tag in parse(page).find_all(href=True):
            link = urlsplit(tag["href"])
            if link.scheme or link.netloc or page.name == "404.html":  # its links begin at the root of the host
                continue
            seen += 1
            target = (page.parent / unquote(link.path)).resolve() if link.path else page
            target = target / "index.html" if target.is_dir() else target
            lost = not target.exists() or (
                link.fragment and target.suffix == ".html" and unquote(link.fragment) not in anchors(target)
            )
            if lost:
                broken.append(f"{page.relative_to(site)}: {tag['href']}")
    assert seen > 1000
    assert not broken


def test_every_link_outside_has_the_form_of_one(site: Path) -> None:
    outside = {tag["href"] for page in pages(site) for tag in parse(page).find_all("a", href=re.compile("^[a-z]+:"))}
    assert len(outside) > 4
    assert not [link for link in outside if not OUTSIDE.fullmatch(link)]


def test_nothing_is_fetched_from_another_host(site: Path) -> None:
    for page in pages(site):
        for name, attribute in FETCHED.items():
            for tag in parse(page).find_all(name, {attribute: True}):
                if tag.get("rel") not in (["canonical"], ["next"], ["prev"]):
                    assert not urlsplit(tag[attribute]).netloc, f"{page.relative_to(site)}: {tag}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(.?https?:|@import", style.read_text("utf-8")), style.name
    for picture in site.rglob("*.svg"):
        assert "@font-face" not in picture.read_text("utf-8"), picture.name


@pytest.mark.parametrize(
    "text", ["http://a.example/", "https://a.example/b.", "https://localhost/", "https://a.example/ b"]
)
def test_what_has_not_the_form_of_a_link_is_found(text: str) -> None:
    assert not OUTSIDE.fullmatch(text)
