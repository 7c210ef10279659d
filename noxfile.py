"""Every check of the project, each in an environment of its own; `nox` alone runs what a change has to pass.

Sessions: lint, types, site, tests (on every supported interpreter that is found), docs, g4f, torture, fuzz, bench.
What follows ``--`` goes to pytest, or to mkdocs: ``nox -s tests -- -k retry``, ``nox -s docs -- serve``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"  # whichever is there; uv makes an environment in a tenth of the time
# The cheap checks first, and the tests last: the line that pytest closes with is then at the end of the output.
nox.options.sessions = ["lint", "types", "site", "tests"]

SUPPORTED = ["3.11", "3.12", "3.13", "3.14"]
PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, name)


def runs(python: str, version: str) -> bool:
    """Tell whether an interpreter starts and is of that version.

    A file of the right name proves nothing: pyenv's shims are there for every version it has, and exit with 127 for
    those that are not selected.
    """
    command = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def candidates(version: str) -> Iterator[str]:
    """Yield where an interpreter of that version may be: on PATH first, then among pyenv's, the newest first."""
    name = f"python{version}"
    for folder in os.get_exec_path():
        if found := shutil.which(name, path=folder):
            yield found
    for root in pyenv_roots():
        installed = [path for path in root.glob(f"versions/{version}.*") if re.fullmatch(r"[\d.]+", path.name)]
        for path in sorted(installed, key=lambda path: [int(part) for part in path.name.split(".")], reverse=True):
            yield str(path / "bin" / name)


def pyenv_roots() -> Iterator[Path]:
    """Yield the folders pyenv may keep its interpreters in."""
    if pyenv := shutil.which("pyenv"):
        done = subprocess.run([pyenv, "root"], capture_output=True, text=True, timeout=30, check=False)
        if root := done.stdout.strip():
            yield Path(root)
    yield Path.home() / ".pyenv"


def find_interpreters() -> list[str]:
    """Return the supported versions that are here, and see to it that nox finds each where PATH alone misleads it."""
    found: list[str] = []
    for version in SUPPORTED:
        if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
            found.append(version)  # nox runs on it, and would take it before any other
            continue
        python = next((path for path in candidates(version) if runs(path, version)), None)
        if python is None:
            continue
        found.append(version)
        if python != shutil.which(f"python{version}"):
            os.environ["PATH"] = os.pathsep.join([str(Path(python).parent), os.environ["PATH"]])
    return found


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: the rules and the format."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the package, and what it promises to type checkers (tests/typing), with mypy and pyright, both strict."""
    session.install(".[server,cli]", *group("types"))
    session.run("mypy")
    session.run("pyright", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})


INTERPRETERS = find_interpreters()


@nox.session(python=INTERPRETERS)
def tests(session: nox.Session) -> None:
    """Run the tests on the package as it is installed; on the first interpreter, see what the core's reach."""
    session.install(".[server,cli]", *group("test"))
    # Keeps the working directory off sys.path: the package that is imported is the installed one, not the checkout.
    env = {"PYTHONSAFEPATH": "1"}
    if not session.posargs and session.python == INTERPRETERS[0]:
        cover_core(session, env)
    elsewhere = [f"--ignore=tests/{folder}" for folder in ("docs", "g4f", "site")]
    session.run("python", *PYTEST, *elsewhere, *session.posargs, env=env)


# One process for each core: most of the time goes into waiting for the processes and clocks that tests start.
PYTEST = ["-m", "pytest", "-n", "auto"]


def cover_core(session: nox.Session, env: dict[str, str]) -> None:
    """See that the tests of the core, which do no I/O, reach every line and branch of it by themselves."""
    env = {**env, "COVERAGE_FILE": str(Path(session.virtualenv.location, "coverage").resolve())}
    session.run("coverage", "erase", env=env)
    # coverage starts pytest, not the other way round: the package's own pytest plugin is imported before any test.
    session.run("coverage", "run", *PYTEST, "tests/core", env=env)
    session.run("coverage", "combine", "--quiet", env=env)
    session.run("coverage", "report", "--include=*/aichatfree_sdk/core/*", "--fail-under=100", env=env)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/, any warning being an error; ``-- serve`` serves it instead."""
    mkdocs(session, group("docs"), session.posargs or BUILD)


@nox.session
def site(session: nox.Session) -> None:
    """Build the site, do what its pages say, and look at it: links, Markdown copies, a visitor's clicks in Chromium."""
    mkdocs(session, group("site"), BUILD)
    # A page may take a hundred times as long as another: a process that is done takes over what another has not begun.
    session.run("python", *PYTEST, "--dist=worksteal", *(session.posargs or ["tests/docs", "tests/site"]))


BUILD = ["build", "--strict"]


def mkdocs(session: nox.Session, requirements: tuple[str, ...], arguments: Sequence[str]) -> None:
    """Run MkDocs; the package is the checkout's, as parts of the site are generated from it."""
    session.install("--editable", ".[server,cli]", *requirements)
    # The theme's banner about a future major version, which the requirements keep out.
    session.run("mkdocs", *arguments, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def g4f(session: nox.Session) -> None:
    """Run the provider inside the real g4f package."""
    session.install(".[server]", *group("g4f"))
    session.run("python", "-m", "pytest", "tests/g4f", *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def torture(session: nox.Session) -> None:
    """Run every case of every row of docs/reliability.md, or of ``-- --row=NAME``, and write the counts there."""
    session.install(".[server,cli]", *group("test"), *group("fuzz"))
    whole = all(option.startswith("--row=") for option in session.posargs)  # a part of a row is no report
    report = ["--report=docs/reliability.md"] if whole else []
    patience = "--override-ini=faulthandler_timeout=5400"
    command = ["python", "-m", "pytest", "tests/reliability", "--full", patience, *report, *session.posargs]
    session.run(*command, env={"PYTHONSAFEPATH": "1"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Feed the fuzz targets what coverage guides to: ``-- EXECUTIONS [TARGET ...]``, 20,000 of each unless told."""
    session.install(".[server,cli]", *group("fuzz"))
    executions, *targets = session.posargs or ["20000"]
    session.run("python", "tests/fuzz/run.py", executions, session.create_tmp(), *targets)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the SDK beside what one might pick instead, over an hour on an idle machine; ``-- TABLE`` for one."""
    session.install(".[aiohttp]", *group("bench"))
    session.run("python", "benchmarks/run.py", *session.posargs)
