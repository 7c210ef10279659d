from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aichatfree_sdk.server.text import MAX_DELTAS, split_text

FAMILY = "👩\u200d👩\u200d👧\u200d👦"


@pytest.mark.parametrize(
    ("text", "deltas"),
    [
        ("", []),
        ("Hello", ["Hello"]),
        ("Hello there, world", ["Hello ", "there, ", "world"]),
        ("  two\n\nlines\t", ["  ", "two\n\n", "lines\t"]),
        ("Здравствуйте, мир", ["Здравствуйте, ", "мир"]),
        ("你好世界今天天气", ["你好世界", "今天天气"]),
        ("a" * 20, ["a" * 16, "a" * 4]),
        (FAMILY * 2, [FAMILY, FAMILY]),
    ],
)
def test_word_by_word(text: str, deltas: list[str]) -> None:
    assert list(split_text(text)) == deltas


@pytest.mark.parametrize(
    "cluster",
    [
        FAMILY,
        "👍🏽",
        "🇫🇷",
        "é",
        "x" + "\u0301" * 40,
        "❤\ufe0f",
        "क\u094dष",
        "\u1112\u1161\u11ab",
        "🏴\U000e0067\U000e007f",
        "\r\n",
    ],
)
def test_what_reads_as_one_character_stays_whole(cluster: str) -> None:
    for lead in range(20):
        deltas = list(split_text("字" * lead + cluster + "字" * 20))
        assert any(cluster in delta for delta in deltas), (lead, deltas)
        assert len(deltas) > 1


@given(st.text())
def test_nothing_is_lost_and_nothing_is_empty(text: str) -> None:
    deltas = list(split_text(text))
    assert "".join(deltas) == text
    assert all(deltas)


@pytest.mark.parametrize("unit", ["x", "字", "word ", " ", "e\u0301", FAMILY])
def test_a_long_text_comes_in_a_bounded_number_of_deltas(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    deltas = list(split_text(text))
    assert "".join(deltas) == text
    assert 1000 < len(deltas) <= MAX_DELTAS + 1
    assert not any(delta.startswith(("\u0301", "\u200d")) for delta in deltas)
