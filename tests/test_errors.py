"""Errors: one root, whole after pickling, and no secret in any of them."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
import re
import traceback

import pytest
from scripted_server import ScriptedServer, whole

import aichatfree_sdk as sdk
from aichatfree_sdk import errors
from aichatfree_sdk.core.failure import FailureKind, TransportFailure

CLASSES = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.AIChatFreeError)
]


def make(cls: type[sdk.AIChatFreeError]) -> sdk.AIChatFreeError:
    if issubclass(cls, sdk.APIStatusError):
        return cls("text", status=418, headers=[("a", "b")], body=b"c", retry_after=7, partial_text="so far")
    if issubclass(cls, (sdk.InvalidArgumentError, sdk.ConversationFileError)):
        return cls("where", "what")
    return cls("text", partial_text="so far", retries=3)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_pickles_to_its_exact_class_with_its_attributes_and_cause(cls: type[sdk.AIChatFreeError]) -> None:
    error = make(cls)
    error.__cause__ = TransportFailure(FailureKind.BROKEN, "why")
    error.__cause__.__cause__ = OSError("foreign")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert (str(copy), copy.args, vars(copy)) == (str(error), error.args, vars(error))
    assert (copy.__cause__.kind, copy.__cause__.detail) == (FailureKind.BROKEN, "why")


def test_the_tree_drawn_at_the_top_is_the_tree() -> None:
    rows = re.finditer(r"^ {4}([ │├└─]*)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    drawn = [(len(row[1]) // 4, row[2]) for row in rows]
    parents: dict[str, str] = {}
    path: list[str] = []
    for depth, name in drawn:
        del path[depth:]
        parents[name] = path[-1] if path else "PicklableError"
        path.append(name)
    assert parents == {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (sdk.InvalidArgumentError, ValueError),
        (sdk.UnsupportedModelError, ValueError),
        (sdk.ConversationFileError, ValueError),
        (sdk.RequestTimeoutError, TimeoutError),
        (sdk.TotalTimeoutError, TimeoutError),
    ],
)
def test_errors_that_are_builtin_ones_too(cls: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(cls, builtin)


PROMPT = "canary-prompt"  # not a literal in the call: tracebacks quote that line
SCRIPTS = {
    "an echo of everything": whole(401, '{"error":{"message":"Invalid password. canary-pass canary-secret"}}'),
    "a redirect": whole(307, "", "Location: http://x.example/?p=canary-pass"),
    "not HTTP": [b"canary-pass canary-prompt\r\n\r\n"],
    "an echo in JSON": whole(400, json.dumps({"pass": "canary-pass", "x": "y" * 65_510 + "canary-secret"})),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_no_secret_in_any_text_that_an_error_leaves(script: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aichatfree_sdk")
    with ScriptedServer(script) as server:
        options = {"password": "canary-pass", "secret": "canary-secret", "headers": {"X-Key": "canary-head"}}
        with sdk.Client(server.url, **options) as client, pytest.raises(sdk.AIChatFreeError) as caught:
            client.ask(PROMPT)
    error = caught.value
    texts = [repr(client), repr(client.settings), repr(error), str(error), repr(vars(error)), caplog.text]
    texts += ["".join(traceback.format_exception(error)), pickle.dumps(error).decode("latin-1")]
    sign = sdk.generate_signature(server.requests[0]["time"], PROMPT, "canary-secret")
    for text in texts:
        for secret in ("canary-pass", "canary-secret", "canary-head", PROMPT, sign):
            assert secret not in text
