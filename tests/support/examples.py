"""How hypothesis runs in a row of the report: the same examples each time in the quick part, new ones in full."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import hypothesis
from cases import Cases
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def _settings(cases: Cases, quick: int, full: int, **options: Any) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=cases.choose(quick, full),
        deadline=None,
        derandomize=not cases.full,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        **options,
    )


def _seed() -> Callable[[Any], Any]:
    number = random.getrandbits(32)
    print(f"hypothesis.seed({number})")  # noqa: T201 - pytest shows it with a failure
    return hypothesis.seed(number)


def examples(cases: Cases, quick: int, full: int) -> Callable[[Callable[..., None]], None]:
    """Run the function that this decorates, one with `hypothesis.given`, for that many examples."""

    def run(test: Callable[..., None]) -> None:
        test = _settings(cases, quick, full)(test)
        (_seed()(test) if cases.full else test)()

    return run


def run_machine(machine: type[RuleBasedStateMachine], cases: Cases, quick: int, full: int, *, steps: int) -> None:
    """Run a state machine for that many examples."""
    if cases.full:
        machine = _seed()(machine)
    run_state_machine_as_test(machine, settings=_settings(cases, quick, full, stateful_step_count=steps))
