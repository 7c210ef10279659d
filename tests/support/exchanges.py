"""One exchange on a client whose calls may fail, and the next one, which must succeed."""

from __future__ import annotations

from attrs import define, field, frozen
from faults import Failing, Fault

from aichatfree_sdk import AsyncClient, Client, Conversation, Message, Reply

HISTORY = (Message("user", "before"), Message("assistant", "yes"))


@frozen
class Scenario:
    """An exchange, and what it comes to if nothing fails.

    Attributes:
        kind: what the server does; None asks whether the password is right.
        error: what is raised.
        retries: how often it is sent again.
        reused: whether the connection has carried another request before.
        tls: whether it goes over TLS.
        tunnel: whether that is through a proxy.
    """

    kind: str | None
    error: type[Exception] | None = None
    retries: int = 0
    reused: bool = False
    tls: bool = False
    tunnel: bool = False


@define
class Ran:
    """What came of an exchange, and of the next one on the same client."""

    failing: Failing
    chat: Conversation = field(factory=lambda: Conversation(messages=HISTORY))
    deltas: list[str] = field(factory=list)
    reply: Reply | None = None
    password: bool | None = None
    error: BaseException | None = None
    history: list[str] = field(factory=list)
    afterwards: str = ""

    def end(self) -> None:
        self.failing.disarm()
        self.history = [message.content for message in self.chat.messages]


def ask(client: Client, scenario: Scenario, question: str, failing: Failing, fault: Fault | None) -> Ran:
    ran = Ran(failing)
    if scenario.reused:
        client.ask("good before")
    failing.arm(fault)
    try:
        if scenario.kind is None:
            ran.password = client.check_password()
        else:
            with client.stream(question, conversation=ran.chat) as stream:
                for delta in stream:
                    ran.deltas.append(delta)
            ran.reply = stream.reply
    except (Exception, KeyboardInterrupt) as error:
        ran.error = error
    ran.end()
    ran.afterwards = client.ask("good after", conversation=ran.chat).text
    return ran


async def ask_async(
    client: AsyncClient, scenario: Scenario, question: str, failing: Failing, fault: Fault | None
) -> Ran:
    ran = Ran(failing)
    if scenario.reused:
        await client.ask("good before")
    failing.arm(fault)
    try:
        if scenario.kind is None:
            ran.password = await client.check_password()
        else:
            async with client.stream(question, conversation=ran.chat) as stream:
                async for delta in stream:
                    ran.deltas.append(delta)
            ran.reply = stream.reply
    except Exception as error:
        ran.error = error
    ran.end()
    ran.afterwards = (await client.ask("good after", conversation=ran.chat)).text
    return ran
