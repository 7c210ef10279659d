"""Real texts and real sizes, against the embedded server."""

from __future__ import annotations

import tracemalloc

import pytest
from runtimes import Runtime, every_runtime
from scripted_server import CHUNKED, Do, ScriptedServer, answer, chunk

from aichatfree_sdk import Client, Conversation, InvalidArgumentError, RetryPolicy, StreamInterruptedError
from aichatfree_sdk.server import scripted_responder
from aichatfree_sdk.testing import LocalServer

TEXTS = [
    "Привет, как дела? Ёлка.",
    "你好，世界。这是一个很长的句子，没有空格。",
    "👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🇺🇳 1️⃣",
    "e\u0301 n\u0303 क्षि நி",
    "שלום \u202eעולם\u202c",
    "\x00\x1b[31m\t\r\n\ufeff\u2028",
    "𝔘𝔫𝔦 \U0010ffff \ufffd",
]


@every_runtime
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_any_script_goes_there_and_back(text: str, runtime: Runtime) -> None:
    with LocalServer(password="пароль", secret="ключ") as server:
        outcome = runtime.ask(server.url, text, password="пароль", secret="ключ")
    assert outcome.text == f"You said: {text}"


@every_runtime
def test_a_prompt_of_2_mb(runtime: Runtime) -> None:
    prompt = "мегабайт " * (2_000_000 // 17)
    with LocalServer() as server:
        outcome = runtime.ask(server.url, prompt)
    assert outcome.text == f"You said: {prompt}"


@every_runtime
def test_an_answer_of_10_mb(runtime: Runtime) -> None:
    deltas = [f"{number} 🐘 слон\n" * 50 for number in range(11_000)]
    with LocalServer(responder=scripted_responder(deltas)) as server:
        outcome = runtime.ask(server.url)
    assert outcome.text == "".join(deltas)
    assert len(outcome.text.encode()) > 10_000_000


def test_300_turns_of_one_conversation() -> None:
    chat = Conversation(system="Count.")
    with LocalServer() as server, Client(server.url) as client:
        for turn in range(300):
            client.ask(f"turn {turn}", conversation=chat)
        sent = server.requests[-1]["messages"]
    assert len(chat.messages) == 600
    assert [chat.messages[0].content, chat.messages[-1].content] == ["turn 0", "You said: turn 299"]
    assert (len(sent), sent[0]["role"]) == (99, "user")
    assert sent[0]["parts"] == [{"text": "Count.\n\nturn 250"}]


@every_runtime
def test_an_answer_of_which_nothing_is_kept(runtime: Runtime) -> None:
    with ScriptedServer(answer("Hel", "lo"), [CHUNKED, chunk("so far"), Do.CLOSE]) as server:
        calls = [{"prompt": "q", "keep_text": False}] * 2
        good, bad = runtime.ask_all(server.url, calls, retry=RetryPolicy(base_delay=0))
        assert len(server.requests) == 2  # what was handed on, kept or not, is not asked for again
    assert good.deltas == ["Hel", "lo"]
    assert good.reply is not None
    assert (good.reply.text, good.reply.ended_by, good.reply.timing.total > 0) == ("", "chunked", True)
    assert bad.deltas == ["so far"]
    assert isinstance(bad.error, StreamInterruptedError)
    assert bad.error.partial_text == ""


def test_what_a_conversation_shall_keep_is_kept() -> None:
    with pytest.raises(InvalidArgumentError, match=r"keep_text: .*conversation"):
        Client().stream("q", conversation=Conversation(), keep_text=False)


@every_runtime
def test_no_read_asks_for_a_buffer_that_would_be_mapped_afresh(runtime: Runtime) -> None:
    with ScriptedServer(*[answer("a", "b")] * 2) as server:
        runtime.ask(server.url)
        tracemalloc.start()
        try:
            assert runtime.ask(server.url).text == "ab"
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 256 * 1024
