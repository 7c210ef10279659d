"""Arrows point one way, and the core does no I/O: shown by reading the imports of every file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import aichatfree_sdk

PACKAGE = Path(aichatfree_sdk.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

IO = {
    *("httpx", "httpx2", "httpcore", "aiohttp", "anyio", "trio", "asyncio", "socket", "ssl", "select", "selectors"),
    *("time", "random", "secrets", "logging", "subprocess", "urllib.request", "http.client"),
}
SANS_IO = ("core/", "errors.py", "conversation.py", "reply.py", "validation.py")
CLIENTS = ("work", "client_base", "client", "async_client")

# What a room may import of this package, next to itself.
DATA = {"errors", "validation", "conversation", "storage", "reply", "config", "_version"}
MAY_IMPORT = {
    "errors": set(),
    "validation": {"errors"},
    "storage": {"errors"},
    "conversation": {"errors", "forking", "validation", "storage"},
    "reply": {"conversation"},
    "config": {"errors", "validation", "core", "_version"},
    "core": DATA - {"_version", "storage"},
    "cancellation": set(),
    "forking": set(),
    "transports": {"cancellation", "core", "errors", "forking"},
    "work": DATA | {"core"},
    "client_base": DATA | {"core", "work"},
    "client": DATA | {"core", "transports", "client_base", "work"},
    "async_client": DATA | {"cancellation", "core", "transports", "client_base", "work"},
    "provider": {*DATA, "core", "transports", *CLIENTS},
    "testing": {*DATA, "core", "transports", "server", *CLIENTS},
    "server": DATA | {"core"},
    "cli": {*DATA, "core", "server", "testing", *CLIENTS},
}


def imports_of(path: Path) -> Iterator[str]:
    """Yield the absolute name of every module that ``path`` imports, lazily or not."""
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", [p for p in FILES if name_of(p).startswith(SANS_IO)], ids=name_of)
def test_the_core_imports_nothing_that_does_io(path: Path) -> None:
    for module in imports_of(path):
        assert not any(module == io or module.startswith(f"{io}.") for io in IO), module


@pytest.mark.parametrize("path", [p for p in FILES if name_of(p).startswith("core/")], ids=name_of)
def test_the_core_imports_no_third_party_but_attrs(path: Path) -> None:
    import sys

    allowed = {*sys.stdlib_module_names, "attrs", "aichatfree_sdk"}
    assert {module.partition(".")[0] for module in imports_of(path)} <= allowed


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != PACKAGE or p.stem != "__init__"], ids=name_of)
def test_arrows_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "_version":
        return
    for module in imports_of(path):
        top, _, rest = module.partition(".")
        target = rest.partition(".")[0]
        # A name of the package itself (`from aichatfree_sdk import Client`) is what users import: for outer rooms only.
        if top == "aichatfree_sdk" and (PACKAGE / target).with_suffix(".py").exists() | (PACKAGE / target).is_dir():
            assert target == room or target in MAY_IMPORT[room], f"{room} imports {module}"


def test_only_the_transports_import_an_http_library() -> None:
    importers = {
        name_of(path)
        for path in FILES
        for module in imports_of(path)
        if module.partition(".")[0] in ("httpx", "httpx2", "aiohttp", "httpcore")
    }
    # The command has its own; the provider names the type of a connector.
    assert {name for name in importers if not name.startswith(("cli/", "transports/"))} == {"provider.py"}
    rooms = {name.split("/")[1].removesuffix(".py") for name in importers if name.startswith("transports/")}
    assert rooms == {"httpx", "aiohttp"}
