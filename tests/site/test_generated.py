"""What is generated cannot drift from what it is generated from."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from aichatfree_sdk.core.exchange import TRANSITIONS, Event, State

MODULE = Path(__file__).parent.parent.parent / "docs" / "generate" / "state_machine.py"


svg = runpy.run_path(str(MODULE))["svg"]


def test_the_diagram_has_every_state_and_every_arrow() -> None:
    drawn = svg()
    assert sorted(re.findall(r'class="name"[^>]*>(\w+)<', drawn)) == sorted(State)
    assert drawn.count('class="way"') == len({(start, to) for (start, _), ends in TRANSITIONS.items() for to in ends})
    labels = re.findall(r"<tspan[^>]*>([\w ]+)<", drawn)
    assert sorted(labels) == sorted(event for (_, event), ends in TRANSITIONS.items() for _ in ends)


@pytest.mark.parametrize(
    "changed",
    [
        {**TRANSITIONS, (State.FINISHED, Event.CLOSED): frozenset({State.STARTING})},
        {pair: ends for pair, ends in TRANSITIONS.items() if pair != (State.STARTING, Event.ABANDONED)},
    ],
    ids=["one more", "one less"],
)
def test_another_table_has_no_diagram(changed: object) -> None:
    with pytest.raises(ValueError, match="arrows without a way"):
        svg(changed)


def test_the_page_has_it(site: Path) -> None:
    page = (site / "explanation" / "core.html").read_text("utf-8")
    assert svg() in page
    for (state, event), ends in TRANSITIONS.items():
        assert re.search(
            rf"<td>{state}</td>\s*<td>{event}</td>\s*<td>{', '.join(each for each in State if each in ends)}</td>", page
        )
