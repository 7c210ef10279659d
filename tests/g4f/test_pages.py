"""The pages that use the real g4f do what they show."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import PAGES, Reader, name_of, needs_g4f

if find_spec("g4f") is None:
    pytest.skip("g4f is installed by the nox session g4f only", allow_module_level=True)


@pytest.mark.parametrize("page", [page for page in PAGES if needs_g4f(page)], ids=name_of)
def test_it_does_what_it_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Reader(page, tmp_path, "asyncio").follow()
