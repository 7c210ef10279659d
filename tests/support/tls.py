"""Certificates of an authority that only the tests trust, and the contexts of both sides of a connection."""

from __future__ import annotations

import contextlib
import datetime
import functools
import ssl

import trustme


@functools.cache
def authority(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name)


@functools.cache
def server_context(*, host: str = "127.0.0.1", signed_by: str = "trusted", expired: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(days=1)
    authority(signed_by).issue_cert(host, not_after=yesterday if expired else None).configure_cert(context)
    return context


@functools.cache
def client_context() -> ssl.SSLContext:
    """Return one context for all clients: to make one takes longer than most tests."""
    context = ssl.create_default_context()
    authority("trusted").configure_trust(context)
    return context


def flight(hello: bytes, context: ssl.SSLContext) -> bytes:
    """Return what a server answers to a client's ``hello``."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(hello)
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    return outgoing.read()
