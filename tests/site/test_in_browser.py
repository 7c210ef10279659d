"""The site in a browser: what a visitor clicks on works, and nothing sticks out on a narrow or a wide screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is installed by the nox session site only")
expect = playwright.expect

SIZES = [(400, 800), (1400, 900)]
SCHEMES = ["light", "dark"]
# What is wider than the screen and is not inside something that scrolls by itself.
STICKING_OUT = """() => {
    const width = document.documentElement.clientWidth
    const scrolls = element => element !== document.body && element !== document.documentElement && (
        ["auto", "scroll", "hidden"].includes(getComputedStyle(element).overflowX) || scrolls(element.parentElement))
    return [...document.querySelectorAll(".md-content *, .md-header *, .md-footer *")]
        .filter(element => element.getBoundingClientRect().right > width + 1 && !scrolls(element.parentElement))
        .map(element => element.outerHTML.slice(0, 80))
        .concat(document.documentElement.scrollWidth > width ? ["the page"] : [])
}"""

# What one would type, and the page that is meant: it is among the first three.
SEARCHES = {
    "timeout": "howto/timeouts.html",
    "429": "howto/errors.html",
    "with": "explanation/streams.html",
    "save": "howto/conversations.html",
    "proxy": "howto/proxies-and-tls.html",
    "retry": "howto/retries.html",
    "test": "howto/testing.html",
    "trio": "howto/many-streams.html",
    "install": "index.html",
    "history": "howto/conversations.html",
    "RateLimitError": "reference/errors.html",
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_visitor_finds_their_way(browser: Any, address: str, width: int, height: int, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        permissions=["clipboard-read", "clipboard-write"],
    )
    problems: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(address) else problems.append(request.url))

    page.goto(address)
    expect(page.locator("h1")).to_contain_text("aichatfree_sdk")
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate" if scheme == "dark" else "default")

    # A tab.
    tabs = page.locator(".tabbed-set").first
    expect(tabs.get_by_text("client.stream").nth(0)).to_be_visible()
    tabs.locator("label", has_text="trio").click()
    expect(tabs.locator(".tabbed-block").nth(2)).to_be_visible()
    expect(tabs.locator(".tabbed-block").nth(0)).to_be_hidden()

    # A code block, copied.
    copied = copy(page, tabs.locator(".tabbed-block").nth(2).locator(".highlight").first)
    assert copied.startswith("import trio\n")
    assert copied.rstrip().endswith("trio.run(main)")

    # The search.
    if width < 1000:
        page.locator("label[for=__search].md-header__button").click()
    page.locator("input[name=query]").press_sequentially("ConversationBusyError")
    found = page.locator(".md-search-result__link").first
    expect(found).to_be_visible()
    found.click()
    expect(page).not_to_have_url(address)
    expect(page.locator("article")).to_contain_text("ConversationBusyError")

    assert not problems
    context.close()


def copy(page: Any, block: Any) -> str:
    """Click on the button of a code block and return what is in the clipboard then."""
    block.hover()
    block.locator("button").first.click()
    expect(page.locator(".md-dialog")).to_contain_text("Copied")
    return page.evaluate("navigator.clipboard.readText()")


def search(page: Any, words: str) -> list[str]:
    """Return the pages that are found, the best first."""
    page.locator("input[name=query]").fill("")
    page.locator("input[name=query]").press_sequentially(words)
    # The links say what was looked for, so those of an earlier search do not count.
    expect(page.locator(f".md-search-result__link[href*='h={words}' i]").first).to_be_visible()
    links = page.locator(".md-search-result__link").evaluate_all("links => links.map(link => link.href)")
    return list(dict.fromkeys(link.partition("?")[0].partition("#")[0] for link in links))


def test_the_search_finds_what_is_meant(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    found = {words: search(page, words)[:3] for words in SEARCHES}
    assert not [words for words, path in SEARCHES.items() if address + path not in found[words]], found
    page.close()


def test_of_a_shell_session_the_commands_are_copied(browser: Any, address: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(address + "tutorial.html")
    assert copy(page, page.locator(".language-console").first).strip() == 'aichatfree ask --local "Hello"'
    context.close()


def test_nothing_sticks_out_of_any_page(browser: Any, address: str, site: Path) -> None:
    page = browser.new_page()
    for path in sorted(site.rglob("*.html")):
        page.goto(address + str(path.relative_to(site)))
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate(STICKING_OUT) == [], (path, width)
    page.close()
