"""Conversation files: whole or not at all, and checked."""

from __future__ import annotations

import json
import os
import pickle
import stat
from pathlib import Path

import pytest

from aichatfree_sdk import Conversation, ConversationFileError, Message

CHAT = Conversation("Système", [Message("user", "Привет 👋"), Message("assistant", "你好\n", partial=True)])


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    CHAT.save(path)
    assert Conversation.load(path) == CHAT
    assert Conversation.load(str(path)) == CHAT
    assert "Привет" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["chat.json"]


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    CHAT.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    Conversation().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert Conversation.load(path) == Conversation()


def test_a_link_keeps_pointing_where_it_points(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    CHAT.save(target)
    link.symlink_to(target)
    Conversation().save(link)
    assert link.is_symlink()
    assert Conversation.load(target) == Conversation()


@pytest.mark.parametrize("step", ["open", "fsync", "chmod", "replace"])
def test_a_save_that_fails_anywhere_leaves_the_old_file_whole(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chat.json"
    CHAT.save(path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    # The operating system is made to fail, not our own code.
    if step in ("open", "fsync"):
        monkeypatch.setattr(os, step, fail)
    else:
        monkeypatch.setattr(Path, step, fail)
    with pytest.raises(OSError, match="No space"):
        Conversation().save(path)
    monkeypatch.undo()
    assert Conversation.load(path) == CHAT
    assert [entry.name for entry in tmp_path.iterdir()] == ["chat.json"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        CHAT.save(tmp_path / "no" / "chat.json")
    assert missing.value.filename == str(tmp_path / "no" / "chat.json")
    with pytest.raises(IsADirectoryError) as folder:
        CHAT.save(tmp_path)
    assert folder.value.filename == str(tmp_path)
    with pytest.raises(FileNotFoundError):
        Conversation.load(tmp_path / "chat.json")


GOOD = json.dumps(CHAT.to_dict())
DAMAGED = {
    "empty": (b"", "is not whole JSON"),
    "cut": (GOOD[:-9].encode(), "is not whole JSON"),
    "not UTF-8": (GOOD.encode() + b"\xff", "is not UTF-8: byte"),
    "a list": (b"[]", "a JSON list, not an object"),
    "a key twice": (b'{"version": 1, "version": 1, "messages": []}', "names a key twice"),
    "no JSON": (b'{"version": 1, "messages": [], "max_messages": NaN}', "NaN is not JSON"),
    "too deep": (b"[" * 100_000, "is not a conversation"),
    "a huge number": (b"1" * 5000, "is not a conversation"),
    "a foreign file": (b"{}", "messages: is missing"),
    "a newer version": (b'{"version": 2, "messages": []}', "version: must be 1, not 2"),
    "a bad role": (b'{"version": 1, "messages": [{"role": "tool", "content": "x"}]}', "messages[0]: role"),
    "a surrogate": (b'{"version": 1, "messages": [{"role": "user", "content": "\\ud800"}]}', "lone surrogate"),
    "a bad option": (b'{"version": 1, "messages": [], "max_messages": "9"}', "max_messages: must be"),
    "an unknown key": (b'{"version": 1, "messages": [], "color": 1}', "color: is not known here"),
}


@pytest.mark.parametrize(("data", "told"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_named_with_what_is_wrong_and_left_alone(data: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_bytes(data)
    with pytest.raises(ConversationFileError) as caught:
        Conversation.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
    assert caught.value.path == str(path)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy.__cause__) is type(caught.value.__cause__)
    assert path.read_bytes() == data
