"""The k-th I/O call of an exchange fails, for every k, in every way that it can.

First the calls that httpcore makes to the network: to connect, for TLS, to write, to read, to close. Then those that a
client makes to its transport, in the terms of the `Transport` protocol. An exchange without a fault tells which calls
there are; then each of them fails, once alone and once with all that follow.
"""

from __future__ import annotations

import errno
import itertools
import ssl
import uuid
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import anyio
import httpx
import hygiene
import pytest
from answering_server import Address, running, text_of
from attrs import evolve, frozen
from cases import Cases
from exchanges import Ran, Scenario, ask, ask_async
from fault_case import BEHIND_PROXY
from faults import Fault, Place
from faulty_network import Network, backend_of, core_of, make_http_client
from faulty_transport import AsyncFaultyTransport, FaultyTransport
from own import given
from runtimes import LIBRARIES
from tls import authority, client_context

import aichatfree_sdk as sdk
from aichatfree_sdk import AsyncClient, Client, RetryPolicy, Timeout
from aichatfree_sdk.transports.base import FailureKind, TransportFailure

ROW = "torture"
PIECE = 48  # bytes a read
OPTIONS: dict[str, Any] = {
    "retry": RetryPolicy(base_delay=0),
    "timeout": Timeout(connect=5, first_text=20),  # a lost connection shows as a full pool, a lost answer as a hang
}

every_runtime = pytest.mark.parametrize("runtime", ["sync", "asyncio", "trio"])
every_library = pytest.mark.parametrize(
    ("library", "own"),
    [
        pytest.param(library, own, id="own" if own else name, marks=() if own else pytest.mark.full)
        for own, (name, library) in [(True, ("httpx", httpx)), *((False, it) for it in LIBRARIES.items())]
    ],
)


SCENARIOS = {
    "an answer": Scenario("good"),
    "an answer on a used connection": Scenario("good", reused=True),
    "an answer over TLS": Scenario("good", tls=True),
    "an answer through a tunnel": Scenario("good", tls=True, tunnel=True),
    "an answer after an overload": Scenario("busy", retries=1),
    "an answer after a dead connection": Scenario("dropped", retries=1, reused=True),
    "an answer that ends by closing": Scenario("closed"),
    "an answer that breaks off": Scenario("cut", error=sdk.StreamInterruptedError),
    "a refusal": Scenario("refused", error=sdk.BadRequestError),
    "a password": Scenario(None),
}

CONNECTING = frozenset({"connect_tcp", "start_tls"})
EVERY_CALL = CONNECTING | {"write", "read", "close"}
# What is nobody's fault but the program's, or its user's, and passes through everything.
FOREIGN = {kind.__name__: kind for kind in (RuntimeError, MemoryError, KeyboardInterrupt)}
# asyncio and trio deliver a Ctrl-C in ways of their own.
ONLY_BLOCKING = {"KeyboardInterrupt"}
ONLY_ASYNC = {"BrokenResourceError", "ClosedResourceError", "EndOfStream"}


def network_faults(core: ModuleType) -> list[Fault]:
    """Return what may be raised by which calls."""
    mapped = {"Connect": CONNECTING, "Write": frozenset({"write"}), "Read": frozenset({"read"})}
    kinds = [(calls, getattr(core, f"{what}{how}")) for what, calls in mapped.items() for how in ("Error", "Timeout")]
    # What a backend may let through.
    raw = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, *FOREIGN.values())
    kinds += [(EVERY_CALL, kind) for kind in raw]
    codes = (errno.ECONNRESET, errno.EPIPE, errno.ENETUNREACH, errno.EMFILE, errno.EIO)
    return [
        *(Fault(kind.__name__, calls, partial(kind, "injected")) for calls, kind in kinds),
        *(Fault(errno.errorcode[code], EVERY_CALL, partial(OSError, code, "injected")) for code in codes),
        Fault("SSLError", EVERY_CALL, partial(ssl.SSLError, 1, "injected")),
        Fault("an early end", frozenset({"read"}), lambda: None),
    ]


def ask_network(
    runtime: str, library: ModuleType, own: bool, scenario: Scenario, server: Address, fault: Fault | None
) -> Ran:
    network = Network(core_of(library), PIECE)
    question = f"{scenario.kind} {uuid.uuid4()}"
    url = BEHIND_PROXY if scenario.tunnel else server.tls_url if scenario.tls else server.url
    proxy = server.proxy if scenario.tunnel else None
    http = make_http_client(library, runtime, client_context(), backend_of(network, runtime), proxy=proxy)
    options = {**given(http, to_own=own, max_connections=1), **OPTIONS}
    network.pool = http._transport._pool
    if runtime == "sync":
        with http, Client(url, **options) as client:
            ran = ask(client, scenario, question, network, fault)
    else:

        async def main() -> Ran:
            async with http, AsyncClient(url, max_connections=1, **options) as client:
                return await ask_async(client, scenario, question, network, fault)

        ran = hygiene.run(main, backend=runtime)
    check(scenario, question, fault, ran)
    return ran


@frozen
class Verdict:
    """What a failure is to the user: an error, or nothing; and whether another attempt follows where one may."""

    error: type[Exception] | None = None
    retried: bool = False


def judge_network(scenario: Scenario, fault: Fault, place: Place) -> Verdict:
    """Return what ``fault`` at ``place`` of the network is."""
    late = fault.name.endswith("Timeout")
    if place.call == "close" or place.status not in (None, 200):
        return Verdict()  # it is all said
    if place.call in CONNECTING or (scenario.tunnel and not place.secure):
        return Verdict(sdk.ConnectTimeoutError if late else sdk.ConnectError, retried=True)
    if late:
        return Verdict(sdk.IdleTimeoutError)
    if place.status is None:
        return Verdict(sdk.TransportError, retried=place.reused and not place.received)
    if scenario.kind != "closed" or fault.name != "an early end":
        return Verdict(sdk.StreamInterruptedError)
    try:  # such an end cannot be told from a good one
        return Verdict(None if place.body.decode() else sdk.EmptyReplyError)
    except UnicodeDecodeError:
        return Verdict(sdk.InvalidReplyError)


def check(scenario: Scenario, question: str, fault: Fault | None, ran: Ran) -> None:
    """Check the outcome, and all that an exchange may leave behind."""
    failing, text = ran.failing, "".join(ran.deltas)
    assert bool(failing.places) == (fault is not None)
    foreign = fault is not None and fault.name in FOREIGN
    judge = judge_network if isinstance(failing, Network) else judge_transport
    verdicts = [] if fault is None or foreign else [judge(scenario, fault, place) for place in failing.places]
    errors = {verdict.error for verdict in verdicts if verdict.error and (fault.lasting or not verdict.retried)}
    if foreign:
        assert any(ran.error is raised for raised in failing.raised)
    elif errors:
        assert type(ran.error) in errors
        assert ran.error.retries <= 2
    else:
        assert type(ran.error) is (scenario.error or type(None))
        # The first attempt of what is "dropped" would have failed so, anyway.
        expected_first = scenario.kind == "dropped" and bool(failing.places) and failing.places[0].reused
        retried = any(verdict.retried for verdict in verdicts) and not expected_first
        ended = ran.error or ran.reply
        assert ended is None or ended.retries == scenario.retries + retried
    if isinstance(ran.error, sdk.AIChatFreeError) and scenario.kind is not None:
        assert ran.error.partial_text == text
    assert text_of(question).startswith(text)
    cut = scenario.kind == "closed" and fault is not None and fault.name == "an early end"
    assert ran.reply is None or ran.reply.text == text == (text if cut else text_of(question))
    assert ran.password in ((True,) if scenario.kind is None and ran.error is None else (None,))
    before, after = ["before", "yes"], ["before", "yes", question, text]
    complete = ran.reply is not None or (foreign and failing.places[-1].call == "close")  # raised after all was done
    assert ran.history == (after if ran.reply else before) or (complete and ran.history == after)
    assert ran.afterwards == text_of("good after")
    assert failing.left_open == []


def each_fault(faults: list[Fault], calls: list[str], runtime: str) -> Iterator[Fault]:
    """Return every fault, at every call that can fail so."""
    left_out = ONLY_ASYNC if runtime == "sync" else ONLY_BLOCKING
    for fault, lasting in itertools.product(faults, (False, True)):
        for at, call in enumerate(calls, 1):
            if call in fault.calls and fault.name not in left_out:
                yield evolve(fault, at=at, lasting=lasting)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    certificate = tmp_path_factory.mktemp("tls") / "certificate.pem"
    authority("trusted").issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with running(certificate) as address:
        yield address


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
@every_library
@every_runtime
def test_the_network_fails_at_its_kth_call(
    runtime: str, library: ModuleType, own: bool, scenario: Scenario, server: Address, cases: Cases
) -> None:
    calls = ask_network(runtime, library, own, scenario, server, None).failing.calls
    assert {"write", "read"} <= set(calls)
    every = list(each_fault(network_faults(core_of(library)), calls, runtime))
    for fault in every[:: cases.choose(37, 1)]:
        with cases.case(fault.name, calls[fault.at - 1], fault.at, fault.lasting):
            ask_network(runtime, library, own, scenario, server, fault)


KINDS = {
    FailureKind.CONNECT: Verdict(sdk.ConnectError, retried=True),
    FailureKind.CONNECT_TIMEOUT: Verdict(sdk.ConnectTimeoutError, retried=True),
    FailureKind.POOL_TIMEOUT: Verdict(sdk.ConnectTimeoutError),
    FailureKind.STALE: Verdict(sdk.TransportError, retried=True),
    FailureKind.TIMEOUT: Verdict(sdk.IdleTimeoutError),
    FailureKind.BROKEN: Verdict(sdk.TransportError),
    FailureKind.MALFORMED: Verdict(sdk.InvalidReplyError),
    FailureKind.CLOSED: Verdict(sdk.ClientClosedError),
    FailureKind.BOUND: Verdict(sdk.ClientBoundError),
}


def judge_transport(scenario: Scenario, fault: Fault, place: Place) -> Verdict:
    """Return what ``fault`` at ``place`` of the transport's calls is."""
    if place.call == "close" or place.status not in (None, 200):
        return Verdict()
    verdict = KINDS[FailureKind[fault.name]]
    if place.status == 200 and verdict.error is sdk.TransportError:
        verdict = evolve(verdict, error=sdk.StreamInterruptedError)
    return evolve(verdict, retried=verdict.retried and not place.body)


def ask_transport(runtime: str, scenario: Scenario, fault: Fault | None) -> Ran:
    question = f"{scenario.kind} 1"
    if runtime == "sync":
        transport = FaultyTransport()
        with Client("http://127.0.0.1", transport=transport, **OPTIONS) as client:
            ran = ask(client, scenario, question, transport, fault)
    else:
        async_transport = AsyncFaultyTransport()

        async def main() -> Ran:
            async with AsyncClient("http://127.0.0.1", transport=async_transport, **OPTIONS) as client:
                return await ask_async(client, scenario, question, async_transport, fault)

        ran = hygiene.run(main, backend=runtime)
    check(scenario, question, fault, ran)
    return ran


# To a transport's caller an answer on a used connection, over TLS or through a tunnel is like any other.
@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(scenario, id=name)
        for name, scenario in SCENARIOS.items()
        if scenario == Scenario("good") or scenario.kind != "good"
    ],
)
@every_runtime
def test_a_transport_fails_at_its_kth_call(runtime: str, scenario: Scenario, cases: Cases) -> None:
    raised = {kind.name: partial(TransportFailure, kind, "injected") for kind in FailureKind}
    raised |= {name: partial(kind, "injected") for name, kind in FOREIGN.items()}
    faults = [Fault(name, frozenset({"open", "read", "close"}), make) for name, make in raised.items()]
    calls = ask_transport(runtime, scenario, None).failing.calls
    assert {"open", "read", "close"} <= set(calls)
    every = list(each_fault(faults, calls, runtime))
    for fault in every[:: cases.choose(7, 1)]:
        with cases.case(fault.name, calls[fault.at - 1], fault.at, fault.lasting):
            ask_transport(runtime, scenario, fault)
