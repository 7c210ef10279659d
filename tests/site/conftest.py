"""The built site, a server for it, and a browser."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).parent.parent.parent / "site"
# Without the last four, Chromium asks hosts of its maker's for things at every start.
OPTIONS = [
    "--no-sandbox",  # it has none to offer to root
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
]


def do_without(missing: str) -> None:
    """Skip what needs ``missing``; where CI runs, nothing may be missing."""
    assert "CI" not in os.environ, missing
    pytest.skip(missing)


@pytest.fixture(scope="session")
def site() -> Path:
    if not (SITE / "index.html").exists():
        do_without("the site is not built: the nox session site builds it")
    return SITE


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        pass


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


# Not longer than a module: as long as it lives, Playwright has an event loop running in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        do_without("Chromium is missing: install Debian's package chromium, or name yours in the variable CHROMIUM")
    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=chromium, args=OPTIONS) as browser:
            yield browser
