"""What reads bytes from outside, fed with bytes from nowhere: tests/fuzz has the targets, and what is right for each.

In the quick part every seed and every input that was once a finding, and mutations of them, the same in each run; with
--full a million executions of each target, guided by coverage. That part needs atheris, as `nox -s fuzz` does.
"""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from cases import Cases
from fuzz_targets import NAMES, load

ROW = "fuzz"
EACH_TARGET = pytest.mark.parametrize("module", [load(name) for name in NAMES], ids=NAMES)
MUTATIONS = 3_000
EXECUTIONS = 1_000_000
WORKERS = os.cpu_count() or 1
RUN = Path(__file__).parents[1] / "fuzz" / "run.py"


def attempt(module: ModuleType, data: bytes, what: str) -> None:
    try:
        module.target(data)
    except BaseException as error:
        error.add_note(f"the input ({what}): {data.hex()}")
        raise


@EACH_TARGET
def test_every_seed_and_every_finding(module: ModuleType, cases: Cases) -> None:
    for name, data in {**module.SEEDS, **module.FINDINGS}.items():
        attempt(module, data, name)
        cases.count()


def mutated(data: bytes, other: bytes, tokens: tuple[bytes, ...], dice: random.Random) -> bytes:
    """Return ``data`` with a few changes of the kinds that a fuzzer makes."""
    for _ in range(dice.randint(1, 4)):
        start, end = sorted((dice.randint(0, len(data)), dice.randint(0, len(data))))
        piece = dice.choice((b"", dice.randbytes(1), data[start:end] * 2, dice.choice(tokens), other[start:end]))
        data = data[:start] + piece + (data[end:] if dice.random() < 0.5 else data[start:])
    return data


@EACH_TARGET
def test_mutations_of_the_seeds(module: ModuleType, cases: Cases) -> None:
    dice = random.Random(ROW)
    seeds = [data[: module.MAX_LEN] for data in (*module.SEEDS.values(), *module.FINDINGS.values())]
    for number in range(MUTATIONS):
        data = mutated(dice.choice(seeds), dice.choice(seeds), module.TOKENS, dice)[: module.MAX_LEN]
        attempt(module, data, f"mutation {number}")
        cases.count()


def fuzz(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(RUN), str(math.ceil(EXECUTIONS / WORKERS)), str(folder), name]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=5000, check=False)


@pytest.mark.full
def test_a_million_executions_of_each_target(cases: Cases, tmp_path: Path) -> None:
    """Each core has its share of each; the processes of a target learn of each other's finds by their folder."""
    shares = sorted(NAMES * WORKERS)
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = zip(shares, pool.map(partial(fuzz, tmp_path), shares), strict=True)
    executions = dict.fromkeys(NAMES, 0)
    for name, run in runs:
        found = re.search("the failing input of .*", run.stderr)
        assert run.returncode == 0, f"{name}: {found[0] if found else ''}\n{run.stderr[-2000:]}"
        done = re.search(r"Done (\d+) runs", run.stderr)
        assert done is not None, f"{name}: {run.stderr[-2000:]}"
        executions[name] += int(done[1])
    assert min(executions.values()) >= EXECUTIONS
    cases.count(sum(executions.values()))
