"""What the rows of the reliability report share: how many cases a run makes, and the check after each of them.

Without an option a quick part of each row runs, with the other tests. ``--full`` runs all of it, ``--row NAME`` only
that row, and ``--report FILE`` writes what was measured into that page, beside the other rows; see ``nox -s torture``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hygiene
import hypothesis  # noqa: F401 - here, as on import it looks for referrers, which what is frozen is not among
import pytest
from cases import Cases
from report import Row, write_report

_ROWS: pytest.StashKey[dict[str, Row]] = pytest.StashKey()
_RUN: pytest.StashKey[Cases] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run all cases of every row, not the quick part")
    parser.addoption("--row", action="append", metavar="NAME", help="run this row of the report only")
    parser.addoption("--report", metavar="FILE", help="with --full: write what was measured into this page")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = {}
    config.addinivalue_line("markers", "full: a case that only --full runs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    full, rows = config.getoption("full", default=False), config.getoption("row", default=None)

    def is_wanted(item: pytest.Item) -> bool:
        return (full or item.get_closest_marker("full") is None) and (not rows or _row_of(item) in rows)

    left = [item for item in items if is_wanted(item)]
    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = left


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Cases:
    made = Cases(bool(request.config.getoption("full", default=False)))
    request.node.stash[_RUN] = made
    return made


@pytest.fixture(autouse=True)
def left_unharmed(clean_environment: None) -> Iterator[None]:
    """Every test of a row is a case itself."""
    hygiene.freeze()  # each time: the tests before, hypothesis first of all, leave a lot
    with hygiene.unharmed():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    result = yield
    made = item.stash.get(_RUN, None)
    assert made is None or made.run, "the test passed without a case"
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    row = _row(item)
    row.seconds += report.duration
    if call.when == "call":
        made = item.stash.get(_RUN, None)
        row.run += made.run if made is not None else 1
    if report.failed:
        row.failed.add(item.nodeid)
    return report


def _row_of(item: pytest.Item) -> str | None:
    return getattr(getattr(item, "module", None), "ROW", None)


def _row(item: pytest.Item) -> Row:
    name = _row_of(item)
    assert name is not None, "a test of no row of the report"
    return item.config.stash[_ROWS].setdefault(name, Row(name))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    page = config.getoption("full", default=False) and config.getoption("report", default=None)
    # What was interrupted, or not collected, was not measured.
    if page and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        write_report(Path(page), list(config.stash[_ROWS].values()))
