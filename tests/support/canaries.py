"""Secrets that give themselves away wherever they turn up, and all that an observer can see of an error."""

from __future__ import annotations

import base64
import functools
import html
import json
import pickle
import re
import traceback
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from attrs import field, frozen

from aichatfree_sdk import AIChatFreeError


@frozen
class Canary:
    """A password and a signing secret that are in no text but where somebody put them."""

    password: str = field(repr=False)
    secret: str = field(repr=False)


CANARIES = {
    "plain": Canary("quokka-4711-wombat", "kiwi-0815-ibis"),
    "quotes and backslashes": Canary("quo\"kka\\wom'bat", "\\\"kiwi'\\ibis\\"),
    "what URLs and HTML escape": Canary("quokka & <wombat>/%41?#;=+", "kiwi+ibis%2B&amp;~/"),
    "not ASCII": Canary("пароль-кенгуру", "カナリア🐤秘密の鍵"),
    "control characters": Canary("quokka\twombat\n1", "kiwi\x1bibis\x7f2"),
    "long": Canary("quokka" * 90, "kiwi" * 99),
}


@functools.cache
def spellings(secret: str) -> frozenset[str]:
    """Return what somebody would recognize a secret by: three quarters of it, in any of the usual encodings."""
    return frozenset(spelling[: max(6, len(spelling) * 3 // 4)] for spelling in _spell(secret))


def _spell(secret: str) -> Iterator[str]:
    texts = {secret}
    for _ in range(2):  # in JSON, and in JSON that is quoted in JSON
        texts |= {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in texts for ascii_only in (False, True)}
    for text in texts:
        data = text.encode()
        latin = data.decode("latin-1")  # a header's bytes
        urls = [quote(text), quote(text, safe=""), quote(text, safe="!'()*"), quote_plus(text)]
        yield from (text, ascii(text)[1:-1], repr(text)[1:-1], repr(data)[2:-1], latin, repr(latin)[1:-1])
        yield from urls
        yield from (re.sub("%..", lambda code: code[0].lower(), url) for url in urls)
        yield from (html.escape(text), html.escape(text, quote=False))
    yield secret.encode().hex()
    yield base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]  # the last character depends on what follows


def leaks(secrets: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Return what of the secrets is in the texts, with what stands before it."""
    texts = set(texts)
    return [
        text[max(0, text.find(spelling) - 80) : text.find(spelling) + len(spelling)]
        for secret in secrets
        for spelling in spellings(secret)
        for text in texts
        if spelling in text
    ]


# httpx's errors raise when they are asked for what they have not.
_NOT_SET = {"request", "response"}


def everything(error: BaseException) -> Iterator[str]:
    """Yield all text that an error, and those behind it, show to a reader, a log, a pickle, or the SDK's debugger."""
    yield from told(error)
    for each in _chain(error):
        if (request := getattr(each, "_request", None)) is not None:  # httpx's, which shows no more than its URL
            yield from (request.content.decode(), repr(request.headers.raw))
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if "/aichatfree_sdk/" in frame.f_code.co_filename:
                yield from (f"{name}={value!r}" for name, value in frame.f_locals.items())


def told(error: BaseException) -> Iterator[str]:
    """Yield the same without the variables of the functions that raised it."""
    yield "".join(traceback.format_exception(error))
    for each in _chain(error):
        yield from (repr(each), str(each), f"{each}", repr(each.args))
        for name in {name for name in dir(each) if not name.startswith("__")} - _NOT_SET:
            yield f"{name}={getattr(each, name, None)!r}"
    if isinstance(error, AIChatFreeError):
        pickled = pickle.dumps(error)
        yield pickled.decode("latin-1")
        yield from (f"{name}={value!r}" for name, value in vars(pickle.loads(pickled)).items())


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__]
    return found
