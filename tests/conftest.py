"""What every test starts from: no setting of the developer's own reaches the code under test."""

from __future__ import annotations

import importlib.util
import os
import signal

import pytest

# What a script starts in its background ignores Ctrl-C, and all that it starts itself; so would the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if importlib.util.find_spec("hypothesis"):  # it is not there beside g4f
    import hypothesis

    # A machine that others use as well may take its time over any example.
    hypothesis.settings.register_profile(
        "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AICHATFREE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
