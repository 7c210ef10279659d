"""How many cases a test of a reliability row makes, with the check after each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import hygiene
from attrs import define

T = TypeVar("T")


@define
class Cases:
    """How many cases a test ran, and how many it is to run.

    Attributes:
        full: whether all of them shall run.
        run: how many were begun.
    """

    full: bool
    run: int = 0

    def choose(self, quick: T, full: T) -> T:
        """Return one or the other: a number, or a list of what to try."""
        return full if self.full else quick

    @contextlib.contextmanager
    def case(self, *what: Any) -> Iterator[None]:
        """Run one case; the check of `hygiene.unharmed` follows it."""
        self.run += 1
        try:
            with hygiene.unharmed():
                yield
        except BaseException as error:
            error.add_note(f"the case: {what}")
            raise

    def count(self, number: int = 1) -> None:
        """Note cases that open nothing, so that one check after all of them does."""
        self.run += number
