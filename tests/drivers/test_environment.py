"""Proxies and certificates that are named wrongly, in an argument or by the environment: one clear error of ours."""

from __future__ import annotations

import anyio
import pytest

from aichatfree_sdk import AsyncClient, Client, ConnectError, InvalidArgumentError, RetryPolicy

ONCE = RetryPolicy(max_retries=0)


def ask_through(backend: str, proxy: str | None, url: str = "http://chat.invalid") -> None:
    async def main() -> None:
        async with AsyncClient(url, proxy=proxy, retry=ONCE) as client:
            await client.ask("q")

    if backend != "sync":
        anyio.run(main, backend=backend)
    else:
        with Client(url, proxy=proxy, retry=ONCE) as client:
            client.ask("q")


@pytest.mark.parametrize("backend", ["sync", "asyncio", "trio"])
@pytest.mark.parametrize("proxy", ["http://a..b:3128", f"http://{'x' * 64}:3128", "http://127.0.0.1:99999"])
def test_a_proxy_that_is_no_host(proxy: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises((ConnectError, InvalidArgumentError), match=r"at the proxy|HTTP_PROXY"):
        ask_through(backend, None)


@pytest.mark.parametrize("backend", ["sync", "asyncio", "trio"])
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSLKEYLOGFILE"])
def test_files_that_cannot_be_used_are_named_by_who_needs_them(
    name: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/nowhere/file")
    with pytest.raises(InvalidArgumentError, match=name):
        ask_through(backend, None, "https://chat.invalid")
    with pytest.raises(ConnectError):
        ask_through(backend, None)


def test_a_bad_proxy_is_not_blamed_on_the_environment() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Client("http://chat.invalid", proxy="http://ü..ö:3128")
    assert "HTTP_PROXY" not in str(caught.value)
