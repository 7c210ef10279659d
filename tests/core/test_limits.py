"""How long one attempt may wait: the answers of the limits at every side of their clocks."""

from __future__ import annotations

from aichatfree_sdk.core.limits import Limits


def test_without_a_deadline_nothing_expires() -> None:
    limits = Limits(lambda: 1e9, connect=10, idle=60)
    assert (limits.wait(), limits.connect_wait(), limits.expired) == (60, 10, False)


def test_a_deadline_that_is_nearer_counts() -> None:
    now = 0.0
    limits = Limits(lambda: now, connect=10, idle=60, deadline=5)
    assert (limits.wait(), limits.connect_wait(), limits.expired) == (5, 5, False)
    now = 4.0
    assert (limits.wait(), limits.connect_wait(), limits.expired) == (1, 1, False)
    now = 5.0
    assert (limits.wait(), limits.connect_wait(), limits.expired) == (0.001, 0.001, True)


def test_expiring_ends_the_waits_to_come_before_it_wakes_the_one_that_is_going_on() -> None:
    limits, seen = Limits(lambda: 0.0, idle=60), list[bool]()
    limits.expire()
    assert (limits.wait(), limits.expired) == (0.001, True)
    limits = Limits(lambda: 0.0, wake=lambda: seen.append(limits.expired))
    limits.expire()
    assert seen == [True]
