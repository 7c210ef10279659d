"""What every test starts from: no setting of the developer's own reaches the code under test."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AICHATFREE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
