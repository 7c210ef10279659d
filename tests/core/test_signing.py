"""The two vectors of docs/explanation/protocol.md."""

from __future__ import annotations

import pytest

from aichatfree_sdk import generate_signature


@pytest.mark.parametrize(
    ("secret", "sign"),
    [
        ("", "690541cd6fe27026027e96b6934f66b18e521aaf07829ed8a78ec0232c88f060"),
        ("s3cr3t", "0a097913aa6ac80a81c289dfc83a5544dc652c9106132baa439eaba511734faa"),
    ],
)
def test_the_vectors_of_the_protocol(secret: str, sign: str) -> None:
    assert generate_signature(1700000000000, "Привет!", secret) == sign


def test_the_secret_is_empty_unless_given() -> None:
    assert generate_signature(time=1, text="a") == generate_signature(1, "a", "")
