"""On one script of a server's behaviour, whatever it is, sync, asyncio and trio come to the same, and that is right.

How bytes arrive is the kernel's business, so no delta is looked at, but what they add up to. Where the order of things
would decide (a reset overtakes text, an idle connection is closed while it is used), the script waits for the client.
"""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import hygiene
from attrs import define, field
from behaviours import BEHAVIOURS, Behaviour, Progress
from cases import Cases
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from runtimes import LIBRARIES
from scripted_server import LONGEST, ScriptedServer, answer
from tls import client_context

from aichatfree_sdk import AIChatFreeError, AsyncClient, Client, Conversation, Message, Reply, RetryPolicy

ROW = "properties"

POLICY = RetryPolicy(max_retries=2, base_delay=0.001)
LATER = Behaviour([*answer("later")], "later")  # to every request after the script


@define
class Talk:
    """Some calls of one client, and what they came to: a text, an error's class, and how many retries."""

    chat: Conversation
    progress: Progress
    outcomes: list[tuple[str, type[AIChatFreeError] | None, int]] = field(factory=list)

    def note(self, text: str, end: Reply | AIChatFreeError) -> None:
        failed = isinstance(end, AIChatFreeError)
        assert text == (end.partial_text if failed else end.text)
        self.outcomes.append((text, type(end) if failed else None, end.retries))

    def ask(self, client: Client, question: str) -> None:
        self.progress.note(-1)
        text = ""
        try:
            with client.stream(question, conversation=self.chat) as stream:
                self.progress.note(0)
                for delta in stream:
                    text += delta
                    self.progress.note(len(text))
            self.note(text, stream.reply)
        except AIChatFreeError as error:
            self.note(text, error)

    async def ask_async(self, client: AsyncClient, question: str) -> None:
        self.progress.note(-1)
        text = ""
        try:
            async with client.stream(question, conversation=self.chat) as stream:
                self.progress.note(0)
                async for delta in stream:
                    text += delta
                    self.progress.note(len(text))
            self.note(text, stream.reply)
        except AIChatFreeError as error:
            self.note(text, error)


def talk(runtime: str, library: ModuleType, script: list[Behaviour], cuts: list[int], calls: int, *, keep: bool) -> Any:
    """Return the outcomes, the conversation, which connection each request came on, and the requests' messages."""
    progress = Progress()
    it = Talk(Conversation(on_interrupt="keep" if keep else "rollback"), progress)
    played = [progress.play(behaviour.steps, cuts) for behaviour in script]
    with ScriptedServer(*played, then=LATER.steps) as server:

        def wait_for_hanging_up() -> None:
            served = len(server.served)
            if served <= len(script) and script[served - 1].hangs_up:
                server._threads[-1].join(LONGEST)

        # Of one connection: one that is lost would make the next call wait in vain. And none that httpx drops because
        # it was idle for 5 s, its default: a machine that stands still for so long is not in the script.
        limits = library.Limits(max_connections=1, keepalive_expiry=None)
        options: dict[str, Any] = {"verify": client_context(), "trust_env": False, "limits": limits}
        if runtime == "sync":
            with library.Client(**options) as http, Client(server.url, http_client=http, retry=POLICY) as client:
                for number in range(calls):
                    it.ask(client, f"q{number}")
                    wait_for_hanging_up()
        else:

            async def main() -> None:
                async with (
                    library.AsyncClient(**options) as http,
                    AsyncClient(server.url, http_client=http, max_connections=1, retry=POLICY) as client,
                ):
                    for number in range(calls):
                        await it.ask_async(client, f"q{number}")
                        wait_for_hanging_up()

            hygiene.run(main, backend=runtime)
    assert not it.chat.busy
    return it.outcomes, it.chat.messages, server.served, [request["messages"] for request in server.requests]


def expect(script: list[Behaviour], *, keep: bool) -> Any:
    """Return what `talk` has to return, but for the requests, of as many calls as the script takes, and one more."""
    outcomes: list[Any] = []
    messages: list[Message] = []
    served: list[int] = []
    alive, connections = False, 0
    coming = itertools.chain(script, itertools.repeat(LATER))
    after_all = False
    while not after_all:
        after_all, question = len(served) >= len(script), f"q{len(outcomes)}"
        for behaviour in itertools.islice(coming, POLICY.max_retries + 1):
            connections += not alive
            served.append(connections)
            retried = behaviour.retried or (behaviour.stale and alive)
            alive = behaviour.alive
            if not retried:
                break
        outcomes.append((behaviour.text, behaviour.error, len(served) - sum(1 + it[2] for it in outcomes) - 1))
        if behaviour.error is None or (keep and behaviour.text):
            partial = behaviour.error is not None
            messages += [Message("user", question), Message("assistant", behaviour.text, partial=partial)]
    return outcomes, tuple(messages), served


def test_sync_asyncio_and_trio_come_to_the_same_and_that_is_right(cases: Cases) -> None:
    libraries = list(LIBRARIES.values())

    @examples(cases, 40, 400)
    @given(
        st.lists(BEHAVIOURS, max_size=8),
        st.lists(st.integers(0, 200), max_size=8),
        st.booleans(),
        st.sampled_from(cases.choose(libraries[:1], libraries)),
    )
    def check(script: list[Behaviour], cuts: list[int], keep: bool, library: ModuleType) -> None:
        right = expect(script, keep=keep)
        assert right[0][-1] == (LATER.text, None, 0)
        requests: list[Any] = []
        for runtime in ("sync", *hygiene.BACKENDS):
            with cases.case(runtime, library.__name__):
                *came, sent = talk(runtime, library, script, cuts, len(right[0]), keep=keep)
                assert tuple(came) == right
                requests.append(sent)
        assert requests[0] == requests[1] == requests[2]
