"""ONE table of what a server can do, run on sync, asyncio and trio, over httpx and httpx2."""

from __future__ import annotations

import gc
import gzip
import json
import socket
import struct
import threading

import pytest
from attrs import field, frozen
from runtimes import Runtime, every_runtime
from scripted_server import CHUNKED, END, Do, Pause, ScriptedServer, Step, answer, chunk, cut, head, whole

import aichatfree_sdk as sdk
from aichatfree_sdk import Conversation, RetryPolicy, Timeout

TRAILER = "Internal server error"
QUICK = RetryPolicy(base_delay=0.001)
TEXT = "Привет, 世界! 👨‍👩‍👧‍👦"
GOOGLE = "[GoogleGenerativeAI Error]: Error fetching from  "


def error_body(message: str, code: str = "") -> str:
    return json.dumps({"error": {"message": message, **({"code": code} if code else {})}})


@frozen
class Case:
    """Scripts, one a request that is expected, and what the one call comes to."""

    scripts: tuple[list[Step], ...]
    text: str = ""
    error: type[Exception] | None = None
    told: str = ""
    ended_by: str = "chunked"
    retries: int = 0
    options: dict[str, object] = field(factory=dict)


def case(*scripts: list[Step], **expected: object) -> Case:
    return Case(scripts, **expected)  # type: ignore[arg-type]


RECORDED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nDate: Mon, 23 Nov 2026 03:19:41 GMT\r\n"
    b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"a\r\nYou said: \r\n10\r\n" + "Привет, м".encode() + b"\r\nb\r\n" + "ир! 🙂.".encode() + b"\r\n0\r\n\r\n"
)

CASES = {
    "a recorded answer": case([RECORDED], text="You said: Привет, мир! 🙂."),
    "a recorded answer byte by byte": case(cut([RECORDED]), text="You said: Привет, мир! 🙂."),
    "an answer of many scripts": case(answer(*TEXT), text=TEXT),
    "an answer cut inside its characters": case(answer(*(bytes([b]) for b in TEXT.encode())), text=TEXT),
    "a known length": case(whole(200, TEXT), text=TEXT, ended_by="length"),
    "an end by closing": case([head() + TEXT.encode(), Do.CLOSE], text=TEXT, ended_by="close"),
    "a beginning of the trailer": case(answer("Intern"), text="Intern"),
    "the trailer's words, one by one": case(
        answer("It is ", "Internal ", "server ", "error"), text="It is Internal server error"
    ),
    "a trailer in the answer": case(answer(TRAILER, "s are 500s."), text=f"{TRAILER}s are 500s."),
    "identity was asked for": case(
        [head(200, "Content-Encoding: identity", "Content-Length: 2"), b"ok"], text="ok", ended_by="length"
    ),
    "a wrong charset": case(
        [head(200, "Content-Type: text/plain; charset=koi8-r", "Content-Length: 4"), "Да".encode()],
        text="Да",
        ended_by="length",
    ),
    # Failures that look like answers.
    "the model fails mid-answer": case(
        answer("Once upon a time ", TRAILER),
        text="Once upon a time ",
        error=sdk.StreamInterruptedError,
        told="in the middle",
    ),
    "the same, byte by byte": case(
        cut(answer("Once upon a time ", TRAILER)), text="Once upon a time ", error=sdk.StreamInterruptedError
    ),
    "the prompt is blocked": case(answer(TRAILER), error=sdk.StreamInterruptedError, told="blocked"),
    "the edge breaks off": case(
        [CHUNKED, chunk("so far"), Do.CLOSE], text="so far", error=sdk.StreamInterruptedError, told="partial_text"
    ),
    "the edge breaks off before any text": case([CHUNKED, Do.CLOSE], error=sdk.StreamInterruptedError),
    "a reset mid-answer": case(
        [CHUNKED, chunk("so far"), Pause(0.05), Do.RESET], text="so far", error=sdk.StreamInterruptedError
    ),
    "a length that lies": case(
        [head(200, "Content-Length: 99"), b"so far", Do.CLOSE], text="so far", error=sdk.StreamInterruptedError
    ),
    "nothing": case(answer(), error=sdk.EmptyReplyError),
    "nothing, by length": case(whole(200), error=sdk.EmptyReplyError),
    "no content": case([head(204)], error=sdk.EmptyReplyError),
    "not UTF-8": case(answer("ok ", b"\xff\xfe"), text="ok ", error=sdk.InvalidReplyError, told="0xff"),
    "an end inside a character": case(
        answer("ok ", b"\xf0\x9f"), text="ok ", error=sdk.InvalidReplyError, told="inside"
    ),
    "compressed unasked": case(
        whole(200, gzip.compress(b"ok"), "Content-Encoding: gzip"), error=sdk.InvalidReplyError, told="gzip"
    ),
    "too long": case(
        answer("12345", "67890", "x"),
        text="1234567890",
        error=sdk.InvalidReplyError,
        told="max_reply_bytes",
        options={"max_reply_bytes": 10},
    ),
    "bad chunk framing": case(
        [CHUNKED, chunk("ok"), b"zz\r\n", Do.CLOSE], text="ok", error=sdk.InvalidReplyError, told="not HTTP"
    ),
    "another protocol": case([b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Do.CLOSE], error=sdk.InvalidReplyError, told="not HTTP"),
    "a header without end": case(
        [b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, Do.CLOSE], error=sdk.InvalidReplyError, told="not HTTP"
    ),
    # Refusals.
    "400": case(
        whole(400, error_body("Invalid message history: The last message must be from user role.")),
        error=sdk.BadRequestError,
        told="last message",
    ),
    "401 password": case(
        whole(401, error_body("Invalid password.")), error=sdk.InvalidPasswordError, told="AICHATFREE_PASSWORD"
    ),
    "401 signature": case(
        whole(401, error_body("Invalid signature."), "Date: Mon, 23 Nov 2020 03:19:41 GMT"),
        error=sdk.InvalidSignatureError,
        told="behind ours",
    ),
    "403": case(whole(403, "<html>"), error=sdk.APIStatusError, told="403"),
    "404": case(whole(404), error=sdk.NotFoundError, told="base_url"),
    "500 without a body": case(whole(500), error=sdk.ServerError),
    "500 refused upstream": case(
        whole(500, error_body("Please ensure that multiturn requests alternate.", "Error")),
        error=sdk.UpstreamRefusedError,
    ),
    "500 with a bad key": case(
        whole(500, error_body("API key not valid. Please pass a valid API key.", "Error")),
        error=sdk.ServerError,
        told="owner",
    ),
    "429 too long to wait for": case(whole(429, "", "Retry-After: 3600"), error=sdk.RateLimitError),
    "a redirect": case(
        whole(307, "", "Location: http://other.example/login?a=b"),
        error=sdk.RedirectError,
        told="http://other.example/login,",
    ),
    "a refusal whose body breaks off": case(
        [head(400, "Content-Length: 99"), b"{", Do.CLOSE], error=sdk.BadRequestError
    ),
    # Retries.
    "503, then an answer": case(whole(503), answer("ok"), text="ok", retries=1),
    "503, then an answer on a new connection": case(
        [*whole(503, "", "Connection: close"), Do.CLOSE], answer("ok"), text="ok", retries=1
    ),
    "a quota, then an answer": case(
        whole(500, error_body(f"{GOOGLE}[429 Too Many Requests] Quota exceeded", "Error")),
        answer("ok"),
        text="ok",
        retries=1,
    ),
    "overloaded to the end": case(
        *[whole(500, error_body(f"{GOOGLE}[503 Service Unavailable] overloaded", "Error"))] * 3,
        error=sdk.OverloadedError,
        retries=2,
    ),
    "Retry-After is waited for": case(whole(429, "", "Retry-After: 0"), answer("ok"), text="ok", retries=1),
    "a bad gateway page": case(*[whole(502, "<html>")] * 3, error=sdk.ServerError, retries=2),
    "no retry where none is wanted": case(
        whole(503), error=sdk.OverloadedError, options={"retry": RetryPolicy(max_retries=0)}
    ),
    "a fresh connection that dies is not tried again": case(
        [Do.CLOSE], error=sdk.TransportError, told="before an answer began"
    ),
    "a reset before the answer is not tried again": case([Do.RESET], error=sdk.TransportError),
    # Clocks.
    "no answer in time": case([Do.HOLD], error=sdk.FirstTextTimeoutError, options={"timeout": Timeout(first_text=0.2)}),
    "a head and no text in time": case(
        [CHUNKED, Do.HOLD], error=sdk.FirstTextTimeoutError, options={"timeout": Timeout(first_text=0.2)}
    ),
    "half a head, byte by byte, for ever": case(
        [b"HTTP/1.1 200 OK\r\n", *[b"x", Pause(0.05)] * 40],
        error=sdk.FirstTextTimeoutError,
        options={"timeout": Timeout(first_text=0.3)},
    ),
    "half a character, for ever": case(
        [CHUNKED, chunk(b"\xf0"), Do.HOLD],
        error=sdk.FirstTextTimeoutError,
        options={"timeout": Timeout(first_text=0.2)},
    ),
    "silence in the answer": case(
        [CHUNKED, chunk("so far"), Do.HOLD],
        text="so far",
        error=sdk.IdleTimeoutError,
        options={"timeout": Timeout(idle=0.2)},
    ),
    "a long thought is no silence": case(
        [CHUNKED, Pause(0.8), chunk("ok"), END], text="ok", options={"timeout": Timeout(idle=0.5)}
    ),
    "a slow answer is no silence": case(
        [CHUNKED, *[chunk("x"), Pause(0.25)] * 5, END],
        text="xxxxx",
        options={"timeout": Timeout(idle=1, first_text=1)},
    ),
    "an answer without end": case(
        [CHUNKED, *[chunk("x"), Pause(0.05)] * 60],
        text="x",
        error=sdk.TotalTimeoutError,
        options={"timeout": Timeout(total=1)},
    ),
    "no answer within the total": case([Do.HOLD], error=sdk.TotalTimeoutError, options={"timeout": Timeout(total=0.2)}),
    "no time left for a retry": case(
        whole(503),
        error=sdk.OverloadedError,
        options={"timeout": 5, "retry": RetryPolicy(base_delay=1e6, max_delay=1e6)},
    ),
    "a timeout is tried again where it is wanted": case(
        [Do.HOLD],
        answer("ok"),
        text="ok",
        retries=1,
        options={"timeout": Timeout(first_text=0.2), "retry": RetryPolicy(base_delay=0, retry_timeouts=True)},
    ),
}


@every_runtime
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_case(case: Case, runtime: Runtime) -> None:
    chat = Conversation()
    with ScriptedServer(*case.scripts) as server:
        outcome = runtime.ask(server.url, call={"conversation": chat}, **{"retry": QUICK, **case.options})
        assert len(server.requests) == len(case.scripts)
    if case.error is None:
        assert outcome.error is None
        assert outcome.reply is not None
        assert outcome.text == outcome.reply.text == case.text
        assert (outcome.reply.ended_by, outcome.reply.retries) == (case.ended_by, case.retries)
        assert [message.content for message in chat.messages] == ["q", case.text]
    else:
        assert type(outcome.error) is case.error
        assert case.told in str(outcome.error)
        assert outcome.text == outcome.error.partial_text
        assert outcome.text.startswith(case.text)
        assert outcome.error.retries == case.retries
        assert chat.messages == ()
    assert not chat.busy


@every_runtime
def test_a_connection_is_used_again(runtime: Runtime) -> None:
    with ScriptedServer(answer("a"), whole(503), whole(400), answer("b")) as server:
        outcomes = runtime.ask_all(server.url, [{"prompt": "q"}] * 3, retry=QUICK)
        assert [outcome.text for outcome in outcomes] == ["a", "", "b"]
        assert server.connections == 1


@every_runtime
def test_a_kept_alive_connection_that_dies_under_the_request_is_tried_again(runtime: Runtime) -> None:
    with ScriptedServer(answer("a"), [Do.CLOSE], answer("b")) as server:
        outcomes = runtime.ask_all(server.url, [{"prompt": "q"}] * 2, retry=QUICK)
        assert [(outcome.text, outcome.reply and outcome.reply.retries) for outcome in outcomes] == [("a", 0), ("b", 1)]


@every_runtime
def test_a_kept_alive_connection_that_dies_answering_is_not(runtime: Runtime) -> None:
    with ScriptedServer(answer("a"), [b"HTTP/1.1 20", Do.CLOSE]) as server:
        outcomes = runtime.ask_all(server.url, [{"prompt": "q"}] * 2, retry=QUICK)
        assert type(outcomes[1].error) is sdk.TransportError


@every_runtime
def test_a_connection_that_the_server_closed_while_idle_costs_no_retry(runtime: Runtime) -> None:
    with ScriptedServer([*answer("a"), Do.CLOSE], answer("b")) as server:
        first, second = runtime.ask_all(server.url, [{"prompt": "q"}] * 2, retry=QUICK)
        assert (first.text, second.text) == ("a", "b")


@every_runtime
def test_a_connection_that_dies_while_the_request_is_sent(runtime: Runtime) -> None:
    """The request is larger than any socket buffer, so that its sending is what fails."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            connection, _ = listener.accept()
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        server = threading.Thread(target=reset)
        server.start()
        outcome = runtime.ask(f"http://127.0.0.1:{listener.getsockname()[1]}", "x" * 20_000_000, retry=QUICK)
        server.join()
    assert type(outcome.error) is sdk.TransportError
    assert outcome.error.retries == 0
    gc.collect()  # no generator of the library is left half-read, which would warn


@every_runtime
def test_nobody_there(runtime: Runtime) -> None:
    with ScriptedServer() as server:
        url = server.url
    outcome = runtime.ask(url, retry=QUICK)
    assert type(outcome.error) is sdk.ConnectError
    assert outcome.error.retries == 2
    assert url in str(outcome.error)
    assert "AICHATFREE_BASE_URL" in str(outcome.error)


@every_runtime
def test_a_host_that_does_not_exist(runtime: Runtime) -> None:
    outcome = runtime.ask("http://no-such-host.invalid", retry=RetryPolicy(max_retries=0))
    assert type(outcome.error) is sdk.ConnectError
    assert "http://no-such-host.invalid" in str(outcome.error)


@every_runtime
def test_what_is_sent(runtime: Runtime) -> None:
    with ScriptedServer(answer("ok")) as server:
        runtime.ask(server.url, TEXT, call={"headers": {"X-Call": "7"}}, password="pw", secret="s")
        request, text = server.requests[0], server.heads[0].lower()
        assert request["messages"] == [{"role": "user", "parts": [{"text": TEXT}]}]
        assert request["pass"] == "pw"
        assert request["sign"] == sdk.generate_signature(request["time"], TEXT, "s")
        assert text.startswith("post /api/generate http/1.1\r\n")
        lines = [line for line in text.split("\r\n") if line]
        names = [line.partition(":")[0] for line in lines[1:]]
        assert len(names) == len(set(names))
        for line in ("accept: */*", "accept-encoding: identity", "content-type: text/plain;charset=utf-8", "x-call: 7"):
            assert line in lines
        assert f"referer: {server.url}/" in lines
        assert f"origin: {server.url}" in lines
        assert f"user-agent: aichatfree-sdk/{sdk.__version__}" in lines
