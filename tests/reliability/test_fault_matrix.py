"""Every fault of a server, at every place of the exchange, ends in a whole answer or in the one error that says what
happened, on every runtime, on a fresh connection and on one that was used before; and the client goes on."""

from __future__ import annotations

import pytest
from cases import Cases
from fault_case import Way, check, find_ways
from server_faults import KINDS, Fault

ROW = "fault matrix"


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_wherever_it_can_be(kind: str, cases: Cases) -> None:
    # The quick part takes one of three of those that take a clock's time, and one of nine of what a tunnel repeats.
    faults = [
        fault
        for turn, fault in enumerate(KINDS[kind])
        if cases.full or turn % 3 ** (fault.waits + 2 * is_repeated(fault)) == 0
    ]
    for turn, fault in enumerate(faults, start=len(kind)):
        ways = [way for way in find_ways(fault) if not is_needless(fault, way)]
        for runtime, reused, secure in cases.choose(some(ways, turn, both=fault.stale), ways):
            how = ("reused" if reused else "fresh", "TLS" if secure else "plain")
            with cases.case(kind, fault.where, runtime.id, *how):
                check(fault, runtime, reused, secure)


def some(ways: list[Way], turn: int, *, both: bool) -> list[Way]:
    """Return one way, each turn another; of ``both`` one on a fresh connection and one on one that was used before."""
    ways = [way for way in ways if way[0].own]
    groups = [[way for way in ways if way[1] is reused] for reused in (False, True)] if both else [ways]
    return [group[turn * 5 % len(group)] for group in groups]  # 5 leads to all of 3, 6 or 12


def is_repeated(fault: Fault) -> bool:
    return fault.tunnel and fault.script is not None


def is_needless(fault: Fault, way: Way) -> bool:
    """Under TLS connections end otherwise, and in a tunnel they begin so, but the same with each client."""
    runtime, _, secure = way
    return secure and not runtime.own and (fault.secure is None or is_repeated(fault))


def test_there_are_as_many_kinds_as_were_promised() -> None:
    assert len(KINDS) >= 24
