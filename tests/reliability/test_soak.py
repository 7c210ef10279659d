"""Thousands of answers in one process leave it as it was: descriptors, threads, tasks, connections and memory.

The client has a process of its own, and so has its server. The answers come with everything that goes wrong on the way:
refusals, answers that break off, fail or are not read to their end, retries, connections found dead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import soaked_client
from answering_server import running
from cases import Cases

ROW = "soak"
MEBIBYTE = 1_048_576


@pytest.mark.parametrize("runtime", ["sync", "asyncio", "trio"])
def test_what_a_process_holds_does_not_grow(runtime: str, cases: Cases) -> None:
    warm_up, answers = cases.choose((100, 300), (2_000, 6_000 if runtime == "trio" else 20_000))
    patience = cases.choose(120, 1_800)  # seconds
    command = [sys.executable, "-W", "error", soaked_client.__file__, runtime]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with running() as server:
        command += [server.url, str(warm_up), str(answers)]
        soaked = subprocess.run(command, env=env, capture_output=True, text=True, timeout=patience, check=False)
    assert (soaked.returncode, soaked.stderr) == (0, "")
    before, after = json.loads(soaked.stdout)
    cases.count(answers)
    # What an interpreter keeps for itself is a few hundred; a stream that is kept has some hundred blocks.
    assert after.pop("allocated blocks") - before.pop("allocated blocks") < 1_000 + answers // 10
    assert after.pop("resident bytes") - before.pop("resident bytes") < 2 * MEBIBYTE
    assert after == before
