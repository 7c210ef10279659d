"""Cancellation."""

from __future__ import annotations

import hygiene
import pytest
from cases import Cases
from scripted_server import ScriptedServer, answer

from aichatfree_sdk import AsyncClient

ROW = "cancellation"


@pytest.mark.parametrize("backend", hygiene.BACKENDS)
def test_smoke(backend: str, cases: Cases) -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url) as client:
            assert (await client.ask("q")).text == "a"

    for number in range(cases.choose(2, 50)):
        with cases.case("smoke", number), ScriptedServer(answer("a")) as server:
            hygiene.run(main, server.url, backend=backend)
