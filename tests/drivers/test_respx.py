"""What httpx itself is asked for, and clients without connections to tap."""

from __future__ import annotations

import anyio
import httpx
import pytest
import respx

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, Client, RetryPolicy, Timeout
from aichatfree_sdk.testing import LocalServer

URL = "http://chat.example"
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
NO_RETRY = RetryPolicy(max_retries=0)


@respx.mock
def test_the_timeouts_of_a_request_are_ours() -> None:
    route = respx.post(f"{URL}/api/generate").respond(200, text="ok")
    assert Client(URL, timeout=Timeout(connect=3, first_text=20, idle=5)).ask("q").text == "ok"
    timeout = route.calls[0].request.extensions["timeout"]
    assert (timeout["connect"], timeout["pool"]) == (3, 3)
    assert timeout["read"] == pytest.approx(20, abs=1)
    assert timeout["write"] == pytest.approx(20, abs=1)


@respx.mock
def test_a_redirect_is_not_followed_even_by_a_client_that_follows() -> None:
    respx.post(f"{URL}/api/generate").respond(307, headers={"Location": "http://other.example/"})
    other = respx.post("http://other.example/").respond(200, text="ok")
    with httpx.Client(follow_redirects=True) as http, pytest.raises(sdk.RedirectError):
        Client(URL, http_client=http).ask("q")
    assert not other.called


RAISED = [
    (httpx.ConnectError, sdk.ConnectError),
    (httpx.ConnectTimeout, sdk.ConnectTimeoutError),
    (httpx.PoolTimeout, sdk.ConnectTimeoutError),
    (httpx.ReadTimeout, sdk.IdleTimeoutError),
    (httpx.WriteTimeout, sdk.IdleTimeoutError),
    (httpx.ReadError, sdk.TransportError),
    (httpx.WriteError, sdk.TransportError),
    (httpx.CloseError, sdk.TransportError),
    (httpx.ProxyError, sdk.ConnectError),
    (httpx.UnsupportedProtocol, sdk.ConnectError),
    (httpx.LocalProtocolError, sdk.TransportError),
    (httpx.RemoteProtocolError, sdk.InvalidReplyError),
    (httpx.DecodingError, sdk.TransportError),
    (httpx.TooManyRedirects, sdk.TransportError),
    (OSError, sdk.TransportError),
]


@respx.mock
@pytest.mark.parametrize(("raised", "expected"), RAISED)
def test_no_exception_of_httpx_escapes(raised: type[Exception], expected: type[Exception]) -> None:
    respx.post(f"{URL}/api/generate").mock(side_effect=raised)
    with pytest.raises(expected) as caught:
        Client(URL, retry=NO_RETRY, password="canary").ask("canary")
    assert type(caught.value) is expected
    cause = caught.value.__cause__
    assert cause is not None
    # What is not HTTP is quoted by h11, and the quotation may be an echo of the request: that cause is left out.
    assert isinstance(cause.__cause__, raised) or (expected is sdk.InvalidReplyError and cause.__cause__ is None)
    assert getattr(cause.__cause__, "_request", None) is None


@respx.mock
@BACKENDS
@pytest.mark.parametrize(("raised", "expected"), RAISED)
def test_no_exception_of_httpx_escapes_async(raised: type[Exception], expected: type[Exception], backend: str) -> None:
    respx.post(f"{URL}/api/generate").mock(side_effect=raised)

    async def main() -> None:
        async with AsyncClient(URL, retry=NO_RETRY) as client:
            with pytest.raises(expected) as caught:
                await client.ask("q")
            assert type(caught.value) is expected

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_client_without_connections_has_its_clocks_all_the_same(backend: str) -> None:
    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            yield b"so far"
            await anyio.sleep_forever()

    async def handler(request: httpx.Request) -> httpx.Response:
        if b"never" in request.content:
            await anyio.sleep_forever()
        return httpx.Response(200, stream=Slow()) if b"slow" in request.content else httpx.Response(200, text="ok")

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http:
            client = AsyncClient(URL, http_client=http, timeout=Timeout(idle=0.1, first_text=0.3))
            assert (await client.ask("q")).text == "ok"
            with pytest.raises(sdk.FirstTextTimeoutError):
                await client.ask("never")
            with pytest.raises(sdk.IdleTimeoutError) as caught:
                await client.ask("slow")
            assert caught.value.partial_text == "so far"

    anyio.run(main, backend=backend)


@respx.mock
@BACKENDS
def test_an_auth_flow_of_the_client_s_may_send_the_request_twice(backend: str) -> None:
    challenge = httpx.Response(401, headers={"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    route = respx.post(f"{URL}/api/generate").mock(side_effect=[challenge, httpx.Response(200, text="ok")])

    async def main() -> None:
        async with httpx.AsyncClient(auth=httpx.DigestAuth("u", "p")) as http:
            assert (await AsyncClient(URL, http_client=http).ask("q")).text == "ok"

    anyio.run(main, backend=backend)
    assert route.calls[0].request.content == route.calls[1].request.content != b""


def test_an_asgi_app_answers_without_a_network() -> None:
    from aichatfree_sdk.server import create_app

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app())) as http:
            assert (await AsyncClient(URL, http_client=http).ask("Hello")).text == "You said: Hello"

    anyio.run(main)


@respx.mock
def test_a_body_that_fails_in_the_middle() -> None:
    class Broken(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield b"so far"
            raise httpx.ReadError("gone")

    respx.post(f"{URL}/api/generate").mock(return_value=httpx.Response(200, stream=Broken()))
    with pytest.raises(sdk.StreamInterruptedError) as caught:
        Client(URL).ask("q")
    assert caught.value.partial_text == "so far"


def test_a_connection_that_somebody_else_opened_is_used_too() -> None:
    with LocalServer() as server, httpx.Client() as http:
        http.post(f"{server.url}/api/auth", json={"pass": ""})
        assert Client(server.url, http_client=http).ask("Hello").text == "You said: Hello"


@BACKENDS
def test_a_connection_that_somebody_else_opened_is_used_too_async(backend: str) -> None:
    async def main(url: str) -> None:
        async with httpx.AsyncClient() as http:
            await http.post(f"{url}/api/auth", json={"pass": ""})
            assert (await AsyncClient(url, http_client=http).ask("Hello")).text == "You said: Hello"

    with LocalServer() as server:
        anyio.run(main, server.url, backend=backend)


def test_a_proxy_is_asked_and_its_password_is_not_told() -> None:
    with LocalServer() as proxy:  # it answers any absolute URL with 404
        client = Client(URL, proxy=proxy.url.replace("http://", "http://user:canary@"), retry=NO_RETRY)
        with pytest.raises(sdk.NotFoundError) as caught:
            client.ask("q")
        client.close()
    assert "canary" not in f"{caught.value!r}{client!r}"
