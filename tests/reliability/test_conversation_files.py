"""A save that fails or dies at any call to the operating system leaves the old file or the new one, whole.

And no file, however damaged, makes a load raise anything but what it promises.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import json
import os
import re
import resource
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen
from cases import Cases
from faulty_disk import NEW, OLD, Disk, Moment, Victim, Victims

from aichatfree_sdk import Conversation, ConversationFileError

ROW = "conversation files"
MODE = 0o664  # more than the usual umask lets through


@frozen
class Place:
    """Somewhere that a conversation can be saved to.

    Args:
        prepare: makes it in a folder, and returns the path that is given to ``save``.
        before: what is there at first.
    """

    prepare: Callable[[Path], Path]
    before: Conversation | None


def _existing(folder: Path, name: str = "chat.json") -> Path:
    OLD.save(folder / name)
    (folder / name).chmod(MODE)
    return folder / name


def _link_to(target: Path) -> Path:
    link = target.parent / "link.json"
    link.symlink_to(target)
    return link


PLACES = {
    "a new file": Place(lambda folder: folder / "chat.json", None),
    "an existing file": Place(_existing, OLD),
    "a link to a file": Place(lambda folder: _link_to(_existing(folder)), OLD),
    "a link to nothing": Place(lambda folder: _link_to(folder / "chat.json"), None),
    "the longest name": Place(lambda folder: _existing(folder, "я" * 126 + "xyz"), OLD),
}
EVERY_PLACE = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
CODES = ["EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "EBUSY"]
CODES += ["ESTALE", "ELOOP", "ENAMETOOLONG", "EINVAL", "EFBIG", "EEXIST", "ENOTDIR"]
# What a save can do without once the file is in its place: a folder that may not be read, or that cannot be synced.
DISPENSABLE = {("open", errno.EACCES), ("open", errno.EPERM), ("fsync", errno.EINVAL)}
# A Ctrl-C, and what else can strike anywhere.
OTHERS: list[type[BaseException]] = [KeyboardInterrupt, MemoryError, SystemExit]
MOMENTS: list[Moment] = ["before", "half", "after"]


def fresh(tmp_path: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=tmp_path))


def found(path: Path) -> Conversation | None:
    """Return what is there; anything but a whole conversation raises."""
    return Conversation.load(path) if path.exists() else None


def check_wreck(path: Path, place: Place, *, leftovers: int) -> None:
    """Check what a save that did not come to its end has left, and that the next one does."""
    assert len([entry for entry in path.parent.iterdir() if entry.suffix == ".tmp"]) <= leftovers
    assert found(path) in (place.before, NEW)
    assert path.is_symlink() == (path.name == "link.json")
    if found(path) is not None:
        assert stat.S_IMODE(path.stat().st_mode) == (MODE if place.before else 0o600)
    NEW.save(path)
    assert Conversation.load(path) == NEW


@EVERY_PLACE
def test_every_call_fails_in_every_way(place: Place, tmp_path: Path, cases: Cases) -> None:
    kinds = [functools.partial(OSError, getattr(errno, code), code) for code in cases.choose(CODES[:1], CODES)]
    moments = cases.choose(MOMENTS[1:], MOMENTS)
    others = cases.choose(OTHERS[:1], OTHERS)
    for kind, moment, for_ever in itertools.product([*kinds, *others], moments, cases.choose([False], [False, True])):
        for at in itertools.count(1):
            with cases.case(kind, moment, for_ever, at):
                path, chat, raised = place.prepare(fresh(tmp_path)), NEW.fork(), None
                disk = Disk(at, moment, kind, for_ever)
                try:
                    with disk.replaced():
                        chat.save(path)
                except (OSError, *OTHERS) as error:
                    raised = error
                assert chat == NEW
                call = disk.calls[:at][-1]
                following_links = call in ("lstat", "readlink")
                if raised is None:
                    assert found(path) == NEW
                    # A name that has no links in it can be done without, too.
                    in_place = "replace" in disk.calls[: at - 1]
                    dispensable = in_place and (call, getattr(kind(), "errno", None)) in DISPENSABLE
                    assert not disk.struck or following_links or dispensable
                elif isinstance(raised, OSError):
                    assert following_links or (raised.errno, raised.filename) == (kind().errno, str(path))
                else:
                    assert type(raised) is kind
                # Where unlink fails as well, what was begun cannot be taken away.
                check_wreck(path, place, leftovers=1 if for_ever else 0)
            if at > len(disk.calls):
                break


def test_what_a_power_cut_would_need(tmp_path: Path) -> None:
    """The new text is on the disk before it takes the place of the old one; and then that is, too."""
    path, disk = _existing(tmp_path), Disk(0, "before", SystemExit)
    with disk.replaced():
        NEW.save(path)
    assert disk.calls[disk.calls.index("write") :] == [
        *("write", "fsync", "close", "chmod", "replace"),
        *(["open", "fsync", "close"] if os.name == "posix" else []),
    ]


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    with Victims() as started:
        yield started


@EVERY_PLACE
def test_a_process_that_dies_at_every_call(place: Place, tmp_path: Path, victims: Victims, cases: Cases) -> None:
    for moment in cases.choose(MOMENTS[1:], MOMENTS):
        for at in itertools.count(1):
            with cases.case(moment, at):
                path = place.prepare(fresh(tmp_path))
                fate = victims.save(Victim(str(path), at, moment))
                assert fate in ("SIGKILL", "saved")
                check_wreck(path, place, leftovers=1)
            if fate == "saved":
                break
        assert at > 10  # that many calls were found to die at


def sizes(cases: Cases) -> range:
    """How many bytes the disk has room for, up to one too few for the new conversation."""
    whole = len(json.dumps(NEW.to_dict(), ensure_ascii=False, indent=1).encode()) + 1
    return range(0, whole, cases.choose(1999, 13))


@EVERY_PLACE
def test_a_disk_that_is_full_after_any_number_of_bytes(place: Place, tmp_path: Path, cases: Cases) -> None:
    for most in sizes(cases):
        with cases.case(most):
            path = place.prepare(fresh(tmp_path))
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
            try:
                with pytest.raises(OSError, match="too large") as caught:
                    NEW.save(path)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert caught.value.filename == str(path)
            assert found(path) == place.before
            check_wreck(path, place, leftovers=0)


@EVERY_PLACE
def test_a_process_that_dies_after_any_number_of_bytes(
    place: Place, tmp_path: Path, victims: Victims, cases: Cases
) -> None:
    for most in sizes(cases):
        with cases.case(most):
            path = place.prepare(fresh(tmp_path))
            assert victims.save(Victim(str(path), most=most)) == "SIGXFSZ"
            assert found(path) == place.before
            check_wreck(path, place, leftovers=1)


@pytest.mark.parametrize(("mode", "fate"), [(0o555, "PermissionError"), (0o000, "PermissionError"), (0o333, "saved")])
def test_a_folder_with_other_rights(mode: int, fate: str, victims: Victims) -> None:
    with tempfile.TemporaryDirectory() as made:  # as somebody else has no way into tmp_path
        folder = Path(made, "x")
        folder.mkdir(mode=0o777)
        path = _existing(folder)
        path.chmod(0o644)
        folder.chmod(mode)
        Path(made).chmod(0o755)
        user = 65_534 if os.geteuid() == 0 else None  # root may do anything
        assert victims.save(Victim(str(path), user=user)) == (f"{fate} {path}" if fate != "saved" else fate)
        folder.chmod(0o777)
        assert found(path) == (NEW if fate == "saved" else OLD)
        assert os.listdir(folder) == [path.name]  # noqa: PTH208


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    master, slave = os.openpty()  # a device that nothing can take the place of, whatever goes wrong here
    (tmp_path / "device").symlink_to(os.ttyname(slave))
    for path in (Path("/"), *sorted(tmp_path.iterdir())):
        with pytest.raises(OSError, match=r"(?i)not a regular file|is a directory") as caught:
            NEW.save(path)
        assert caught.value.filename == str(path)
    assert Path(os.ttyname(slave)).is_char_device()
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 4
    os.close(master)
    os.close(slave)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long") as caught:
        NEW.save(tmp_path / ("x" * 256))
    assert (caught.value.errno, list(tmp_path.iterdir())) == (errno.ENAMETOOLONG, [])


# Without a byte more than it takes to have one of everything.
SMALL = Conversation(
    "Sé 👋", [{"role": "user", "content": 'a"\\\n'}, {"role": "model", "content": "b", "partial": True}]
)


def test_every_cut_of_a_file(tmp_path: Path, cases: Cases) -> None:
    SMALL.save(path := tmp_path / "chat.json")
    whole = path.read_bytes().rstrip(b"\n")
    for size in range(len(whole)):
        cases.count()
        path.write_bytes(whole[:size])
        with pytest.raises(ConversationFileError, match=f"^{re.escape(str(path))}: "):
            Conversation.load(path)
        assert path.read_bytes() == whole[:size]


def test_every_byte_of_a_file_as_another(tmp_path: Path, cases: Cases) -> None:
    SMALL.save(path := tmp_path / "chat.json")
    whole = path.read_bytes()
    others = cases.choose([0x00, 0x22, 0x30, 0xFF], range(256))
    for place, other in itertools.product(range(len(whole)), others):
        cases.count()
        data = whole[:place] + bytes([other]) + whole[place + 1 :]
        path.write_bytes(data)
        with contextlib.suppress(ConversationFileError):  # another error is not suppressed
            # Another letter in a text is damage that cannot be seen; what it gives is a conversation like any other.
            loaded = Conversation.load(path)
            loaded.save(path)
            assert Conversation.load(path) == loaded
            continue
        assert path.read_bytes() == data
