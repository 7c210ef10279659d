"""The real command in a process of its own, and servers for it to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from command import Result, Terminal, environment, run_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from aichatfree_sdk.server import ChatMessage


@pytest.fixture
def run() -> Callable[..., Result]:
    return run_command


async def counting_responder(messages: tuple[ChatMessage, ...]) -> AsyncIterator[str]:
    """Says how long the history is; "slow" in the question makes it go on for ever after the first word."""
    yield f"history:{len(messages)} "
    if "slow" in messages[-1].text:
        await asyncio.Event().wait()
    yield "done"


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    if os.name == "nt":
        pytest.skip("no pseudo-terminals of this kind")
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **variables: str) -> Terminal:
            started = Terminal(arguments, variables)
            stack.callback(started.close)
            return started

        yield start


@pytest.fixture
def counting() -> Callable[..., AsyncIterator[str]]:
    return counting_responder


@pytest.fixture
def child_environment() -> Callable[..., dict[str, str]]:
    return environment
