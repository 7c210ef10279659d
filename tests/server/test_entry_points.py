"""The doors from outside: uvicorn's import string, the pytest plugin, `serve`, and a machine without the extra."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import aichatfree_sdk.server

ROOT = Path(aichatfree_sdk.server.__file__).parents[2]


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_public_names() -> None:
    assert sorted(aichatfree_sdk.server.__all__) == aichatfree_sdk.server.__all__
    for name in aichatfree_sdk.server.__all__:
        assert getattr(aichatfree_sdk.server, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = aichatfree_sdk.server.nothing  # type: ignore[attr-defined]


def test_the_app_of_the_environment(tmp_path: Path) -> None:
    code = """
import asyncio, httpx
from uvicorn.importer import import_from_string
app = import_from_string("aichatfree_sdk.server:app")
assert app is import_from_string("aichatfree_sdk.server:app")
async def main():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        for word in ("open sesame", "wrong"):
            print((await client.post("/api/auth", json={"pass": word})).text)
        body = {"messages": [{"role": "user", "parts": [{"text": "Привет!"}]}], "time": 1700000000000,
                "pass": "open sesame", "sign": "0a097913aa6ac80a81c289dfc83a5544dc652c9106132baa439eaba511734faa"}
        print((await client.post("/api/generate", json=body)).status_code)
asyncio.run(main())
"""
    done = run("-c", code, cwd=tmp_path, AICHATFREE_PASSWORD="open sesame", AICHATFREE_SECRET="s3cr3t")
    assert done.stderr == ""
    assert done.stdout.split() == ['{"code":0}', '{"code":-1}', "200"]


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
@pytest.mark.parametrize("name", ["aichatfree_sdk.server", "aichatfree_sdk.testing.local_server"])
def test_without_the_extra_the_import_says_what_to_install(tmp_path: Path, missing: str, name: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import {name}"
    done = run("-c", code, cwd=tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert missing in last
    assert "pip install 'aichatfree-sdk[server]'" in last


def test_the_plugin_imports_nothing_until_the_fixture_is_used(tmp_path: Path) -> None:
    code = """
import sys
import aichatfree_sdk.testing.plugin, aichatfree_sdk.testing
print(sorted({"starlette", "uvicorn", "httpx", "h11"} & set(sys.modules)))
print(dir(aichatfree_sdk.testing).count("LocalServer"))
print(aichatfree_sdk.testing.LocalServer.__name__)
"""
    done = run("-c", code, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.split() == ["[]", "1", "LocalServer"]


TEST = """
import json, urllib.request

def test_one(aichatfree_server):
    request = urllib.request.Request(aichatfree_server.url + "/api/auth", b'{"pass": null}', method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request) as reply:
        assert json.load(reply) == {"code": 0}

def test_two(aichatfree_server):
    assert aichatfree_server.requests == ()
"""


def test_the_fixture_in_somebody_elses_tests(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    done = run("-m", "pytest", "-q", "-W", "error", "-p", "aichatfree_sdk.testing.plugin", cwd=tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_fixture_without_the_extra_fails_with_the_same_words(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import sys; sys.modules['starlette'] = None\n" + TEST)
    done = run("-m", "pytest", "-q", "-p", "aichatfree_sdk.testing.plugin", cwd=tmp_path)
    assert "2 errors" in done.stdout, done.stdout + done.stderr
    assert "pip install 'aichatfree-sdk[server]'" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_serve_runs_until_ctrl_c_even_with_a_stream_open(tmp_path: Path) -> None:
    code = """
import asyncio
from aichatfree_sdk.server import create_app, serve
async def responder(messages):
    yield "first "
    await asyncio.Event().wait()
serve(create_app(responder=responder), port=0, on_started=lambda url: print(url, flush=True))
print("served")
"""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        body = {
            "messages": [{"role": "user", "parts": [{"text": "Привет!"}]}],
            "time": 1700000000000,
            "sign": "690541cd6fe27026027e96b6934f66b18e521aaf07829ed8a78ec0232c88f060",
        }
        with httpx.stream("POST", f"{url}/api/generate", json=body, trust_env=False) as reply:
            assert next(reply.iter_text()) == "first "
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
    assert (process.returncode, out.strip(), err) == (0, "served", "")


def test_serve_on_a_port_in_use_is_an_oserror() -> None:
    with aichatfree_sdk.server.run.listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            aichatfree_sdk.server.serve(aichatfree_sdk.server.create_app(), port=port)
