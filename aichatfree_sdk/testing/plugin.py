"""The pytest plugin: one fixture, and nothing imported for it until a test asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aichatfree_sdk.testing.local_server import LocalServer


@pytest.fixture
def aichatfree_server() -> Iterator[LocalServer]:
    """A started LocalServer that echoes: no password, no secret, a free loopback port; stopped after the test."""
    from aichatfree_sdk.testing.local_server import LocalServer

    with LocalServer() as server:
        yield server
