"""The reference has every public name once, with the types of all that it takes, holds and returns, and an example.

An example of a name is code that names it and that a test runs:

- a doctest in the docstring of the name itself, which runs here, against the echo server; or
- a ```` ```python ```` block of its section, which `test_pages` runs (`tests/g4f`, where a page needs g4f). The section
  of a name begins with the line ``::: name`` and ends with the next such line, or heading.

An error has a block, which shows what its attributes or its text say.
"""

from __future__ import annotations

import doctest
import gc
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from pages import ROOT, Block, blocks_of
from public import members_of

import aichatfree_sdk
from aichatfree_sdk import server, testing
from aichatfree_sdk.testing import LocalServer

REFERENCE = {page: page.read_text("utf-8") for page in sorted((ROOT / "docs" / "reference").glob("*.md"))}
IN_TABLES = {"__version__", "Deltas", "Responder"}  # no class and no function: a line of a table says what each is
ELSEWHERE = [
    "aichatfree_sdk.provider.AIChatFree",
    "aichatfree_sdk.testing.plugin.aichatfree_server",
    "aichatfree_sdk.transports.base.Transport",
    "aichatfree_sdk.transports.base.Response",
    "aichatfree_sdk.transports.base.AsyncTransport",
    "aichatfree_sdk.transports.base.AsyncResponse",
    "aichatfree_sdk.transports.httpx.HttpxTransport",
    "aichatfree_sdk.transports.httpx.AsyncHttpxTransport",
    "aichatfree_sdk.transports.aiohttp.AiohttpTransport",
    "aichatfree_sdk.core.request.Request",
    "aichatfree_sdk.core.limits.Limits",
    "aichatfree_sdk.core.response.ResponseHead",
    "aichatfree_sdk.core.decoder.Cut",
    "aichatfree_sdk.core.failure.TransportFailure",
    "aichatfree_sdk.core.failure.FailureKind",
]


def find(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def function_of(thing: Any) -> Any:
    """Return what stands in the source: of a property its getter, of a class method or a fixture its function."""
    return thing.fget if isinstance(thing, property) else inspect.unwrap(getattr(thing, "__func__", thing))


PUBLIC: dict[str, Any] = {
    **{name: getattr(aichatfree_sdk, name) for name in aichatfree_sdk.__all__},
    **{name: getattr(testing, name) for name in testing.__all__},
    **{name: getattr(server, name) for name in server.__all__},
    **{path.rpartition(".")[2]: find(path) for path in ELSEWHERE},
}
NAMES = sorted(PUBLIC.keys() - IN_TABLES)
ERRORS = [
    name for name in NAMES if inspect.isclass(PUBLIC[name]) and issubclass(PUBLIC[name], aichatfree_sdk.AIChatFreeError)
]


def constructor_of(cls: type) -> Any:
    """Return the ``__init__`` of a class where it is ours, or made for it by attrs."""
    found = inspect.getattr_static(cls, "__init__")
    return found if getattr(found, "__module__", "").startswith("aichatfree_sdk") else None


MEMBERS = dict(pair for name in NAMES for pair in members_of(name, PUBLIC[name]))
DOCTESTS = [name for name, thing in MEMBERS.items() if ">>>" in (inspect.getdoc(function_of(thing)) or "")]


def sections() -> Iterator[tuple[str, str]]:
    """Yield the path of each directive of the reference, and what stands below it."""
    for text in REFERENCE.values():
        for part in re.split(r"^(?=:::|#+ )", hide_comments(text), flags=re.MULTILINE):
            if directive := re.match(r"::: (\S+)\n", part):
                yield directive[1], part.replace("\0", "#")


def hide_comments(text: str) -> str:
    """Hide the comments of code, which look like headings."""
    return re.sub(r"^```.*?^```", lambda block: block[0].replace("#", "\0"), text, flags=re.MULTILINE | re.DOTALL)


SECTIONS = list(sections())


def blocks_on(name: str) -> list[Block]:
    """Return the Python blocks of a name's section that name it."""
    [section] = [text for path, text in SECTIONS if find(path) is PUBLIC[name]]
    return [block for block in blocks_of(section) if block.kind == "python" and re.search(rf"\b{name}\b", block.text)]


def described(doc: str, *headings: str) -> list[str]:
    """Return the names that stand under these headings of a docstring."""
    found: list[str] = []
    for heading in headings:
        for section in re.findall(rf"^{heading}:\n((?:    .*\n|\n(?=    ))*)", doc + "\n", re.MULTILINE):
            found += re.findall(r"^    (\w+): ", section, re.MULTILINE)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_stands_in_the_reference_once(name: str) -> None:
    assert sum(find(path) is PUBLIC[name] for path, _ in SECTIONS) == 1


@pytest.mark.parametrize("name", sorted(IN_TABLES))
def test_it_stands_in_a_table(name: str) -> None:
    assert sum(len(re.findall(rf"^\| `(?:\w+\.)*{name}` \| ", text, re.MULTILINE)) for text in REFERENCE.values()) == 1


def test_nothing_else_stands_in_the_reference() -> None:
    assert sorted(path.rpartition(".")[2] for path, _ in SECTIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_has_an_example(name: str) -> None:
    doctests = doctest.DocTestParser().get_examples(inspect.getdoc(function_of(PUBLIC[name])) or "")
    assert any(re.search(rf"\b{name}\b", each.source + each.want) for each in doctests) or blocks_on(name)


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_provoked(name: str) -> None:
    [block] = blocks_on(name)
    assert f"except {name} as error:" in block.text
    assert "print(" in block.text.partition("as error:")[2]
    assert block.output


@pytest.mark.parametrize("name", DOCTESTS)
def test_a_doctest_prints_what_it_shows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doc = inspect.getdoc(function_of(MEMBERS[name])) or ""
    assert "doctest:" not in doc
    names = {each: getattr(aichatfree_sdk, each) for each in aichatfree_sdk.__all__}
    example = doctest.DocTestParser().get_doctest(doc, names, name, name, 0)
    printed: list[str] = []
    with LocalServer() as echo:
        monkeypatch.setenv("AICHATFREE_BASE_URL", echo.url)
        monkeypatch.chdir(tmp_path)
        failed, tried = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=printed.append)
    assert tried
    assert not failed, "".join(printed)
    gc.collect()  # what it left open says so now


@pytest.mark.parametrize("name", MEMBERS)
def test_nothing_of_it_is_without_a_type(name: str) -> None:
    thing = MEMBERS[name]
    doc = inspect.getdoc(function_of(thing)) or ""
    parameters: dict[str, inspect.Parameter] = {}
    if made_by := constructor_of(thing) if inspect.isclass(thing) else function_of(thing):
        signature = inspect.signature(made_by)
        parameters = {key: value for key, value in signature.parameters.items() if key not in ("self", "cls")}
        assert not [key for key, value in parameters.items() if value.annotation is value.empty]
        assert inspect.isclass(thing) or signature.return_annotation is not signature.empty
    assert set(described(doc, "Args")) <= parameters.keys()
    annotated = {key for base in getattr(thing, "__mro__", ()) for key in inspect.get_annotations(base)}
    assert set(described(doc, "Attributes")) <= annotated


@pytest.mark.parametrize("name", [name for name in NAMES if attrs.has(PUBLIC[name])])
def test_every_field_is_described(name: str) -> None:
    doc = inspect.getdoc(PUBLIC[name]) or ""
    fields = [field.alias for field in attrs.fields(PUBLIC[name]) if field.init]
    assert described(doc, "Args", "Attributes") == fields


@pytest.mark.parametrize("page", [page for page in REFERENCE if page.stem != "command"], ids=str)
def test_a_page_says_what_it_is_for(page: Path) -> None:
    assert re.match(r"# .+\n\nLook up here ", REFERENCE[page])
