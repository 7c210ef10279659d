"""Nothing that a server, a file or a name holds acts on the terminal; what ends the command early ends it well."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from cases import Cases
from command import COMMAND, CTRL_C, PATIENCE, Terminal, environment, run_command
from faulty_disk import OLD
from interrupting import interrupted_command
from scripted_server import CHUNKED, Do, ScriptedServer, Step, answer, chunk, whole

from aichatfree_sdk import Conversation

ROW = "terminal"

# What acts on a terminal, or hides in its text; and, last, what has to pass as it is.
TEXTS = {
    "C0": "".join(map(chr, range(0x20))),
    "DEL and C1": "".join(map(chr, range(0x7F, 0xA0))),
    "CSI": "\x1b[2J\x1b[1;31m\x1b[?1049h\x9b2J",
    "a line that is overwritten": "harm\x1b[1A\x1b[2K\rless",
    "a word that is overwritten": "good\b\b\b\bevil\x7f",
    "a question to the terminal": "\x05\x1b[c\x1b[6n",
    "OSC 0": "\x1b]0;owned\x07",
    "OSC 8": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "OSC 52": "\x1b]52;c;ZXZpbA==\x07\x9d52;c;ZXZpbA==\x9c",
    "DCS": "\x1bP$qm\x1b\\\x90+q544e\x9c",
    "APC, PM and SOS": "\x1b_Ga=T\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\\x9fG\x9ex\x98x\x9c",
    "another character set, a reset": "\x0e\x1b(0\x1bc\x1b%G",
    "carriage returns": "a\r\nb\rc\r\r\nd\r",
    "bidirectional controls": "exe.\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061ctxt",
    "what is not seen": "\u200b\u2060\u2061\ufeff\xad\u180e\ufff9",
    "tags": "\U000e0001\U000e0041\U000e007f",
    "other ends of a line": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "scripts and emoji": "می\u200cخواهم\t👨\u200d👩\u200d👧 ❤\ufe0f\ne\u0301",
}
KEPT = "\n\t\u200c\u200d"
END_OF_ANSWER = "¶"


def shown(text: str) -> str:
    """Return what a terminal has to get instead of ``text``, after Python's own idea of what can be seen."""
    text = text.replace("\r\n", "\n")
    escaped = (c if c.isprintable() or c in KEPT else ascii(c)[1:-1].replace("\\r", "\\x0d") for c in text)
    return "".join(escaped).replace("\n", "\r\n")  # as the terminal itself makes of it


def alive(seen: bytes) -> list[str]:
    """Return what of that acts on a terminal."""
    text = seen.decode().replace("\r\n", "")
    return [character for character in text if not (character.isprintable() or character in KEPT)]


@contextlib.contextmanager
def on_terminal(*arguments: str, lines: bytes | None = None, **variables: str) -> Iterator[Terminal]:
    with tempfile.TemporaryFile() as file:
        file.write(lines or b"")
        file.seek(0)
        started = Terminal(arguments, {"NO_COLOR": "1", **variables}, None if lines is None else file.fileno())
        try:
            yield started
        finally:
            started.close()


def test_an_answer_cut_anywhere(cases: Cases) -> None:
    every = [(text.encode(), place) for text in TEXTS.values() for place in range(1, len(text.encode()))]
    chosen = every[:: cases.choose(5, 1)]
    scripts = [answer(text[:place], text[place:] + END_OF_ANSWER.encode()) for text, place in chosen]
    with ScriptedServer(*scripts) as server:
        with on_terminal("chat", lines=b"q\n" * len(chosen), AICHATFREE_BASE_URL=server.url) as terminal:
            assert terminal.finish() == 0
    answers = terminal.seen.decode().split(f"{END_OF_ANSWER}\r\n")
    assert answers.pop() == ""
    for (text, place), seen in zip(chosen, answers, strict=True):
        cases.count()
        assert seen == shown(text.decode()), place
    assert alive(terminal.seen) == []


def test_the_words_of_an_error(cases: Cases) -> None:
    """A refusal quotes what the server says; whatever it makes of it, nothing of it acts."""
    refusals: list[list[Step]] = []
    for text in TEXTS.values():
        for status, code in ((400, ""), (401, ""), (500, "Error")):
            body = json.dumps({"error": {"message": f"Look: {text} :there", "code": code}}, ensure_ascii=False)
            refusals.append(whole(status, body))
        # A header can hold any byte but a few; and a status line can, too.
        data = bytes(byte for byte in text.encode() if byte not in b"\0\r\n")
        refusals.append([b"HTTP/1.1 307 X\r\nLocation: http://x/", data, b"x\r\nContent-Length: 0\r\n\r\n"])
        refusals.append([b"HTTP/1.1 200 X\r\nContent-Encoding: x", data, b"x\r\n\r\n", Do.CLOSE])
        refusals.append([b"HTTP/1.1 400 ", data, b"\r\nContent-Length: 0\r\n\r\n", Do.CLOSE])
        refusals.append([data, b"\r\n\r\n", Do.CLOSE])
        refusals.append([CHUNKED, data, b"\r\n\r\n", Do.CLOSE])
    refusals = refusals[:: cases.choose(3, 1)]
    with ScriptedServer(*refusals) as server:
        variables = {"AICHATFREE_BASE_URL": server.url, "AICHATFREE_LOG": "debug"}
        with on_terminal("chat", lines=b"q\n" * len(refusals), **variables) as terminal:
            assert terminal.finish() in (4, 5, 6)
        assert len(server.requests) == len(refusals)
    cases.count(len(refusals))
    assert terminal.seen.count(b"error: ") == len(refusals)
    assert alive(terminal.seen) == []


HOSTILE = "".join(TEXTS.values()).replace("\0", "")
NAME = "\x1b]0;x\x07\u202e\x9b2J"


def damaged(folder: Path) -> str:
    (folder / NAME).write_text(json.dumps({"version": 1, "messages": [], HOSTILE: 1}))
    return str(folder / NAME)


# What may come from others, in arguments and files, and how the command is started on it.
STARTS: dict[str, Callable[[Path], list[str]]] = {
    "the name and the keys of a conversation": lambda folder: ["ask", "q", "--conversation", damaged(folder)],
    "a name that cannot be saved to": lambda folder: ["chat", "--conversation", str(folder / NAME / NAME)],
    "the name of a file that is missing": lambda folder: ["ask", "q", "--password-file", str(folder / NAME)],
    "the name of a folder": lambda folder: ["chat", "--conversation", str(folder)],
    "an option": lambda _: ["ask", "q", f"--{NAME}"],
    "an argument too many": lambda _: ["ask", "q", NAME],
    "a command": lambda _: [NAME],
    "a URL": lambda _: ["doctor", "--base-url", f"http://{NAME}"],
    "an answer in doctor": lambda _: ["doctor", "--ask"],
    "an answer as JSON": lambda _: ["ask", "q", "--json"],
}


QUICK = ["the name and the keys of a conversation", "the name of a file that is missing", "an argument too many"]
QUICK += ["an answer in doctor"]
EVERY_START = [pytest.param(STARTS[it], id=it, marks=[pytest.mark.full] * (it not in QUICK)) for it in STARTS]


@pytest.mark.parametrize("start", EVERY_START)
def test_names_and_files_of_others(start: Callable[[Path], list[str]], tmp_path: Path) -> None:
    (tmp_path / "\x1b[31m").mkdir()
    arguments = start(tmp_path / "\x1b[31m")
    scripts = [whole(200, '{"code":0}')] * ("doctor" in arguments) + [answer(HOSTILE)]
    with ScriptedServer(*scripts) as server:
        with on_terminal(*arguments, lines=b"q\n", AICHATFREE_BASE_URL=server.url) as terminal:
            assert terminal.finish() in (0, 1, 2)
    assert terminal.seen
    assert alive(terminal.seen) == []


def test_what_is_typed_and_saved_in_a_chat(tmp_path: Path) -> None:
    lines = [f"/{NAME}", f"/save {tmp_path / NAME}", f"/save {tmp_path / NAME / NAME}", "q", "/quit"]
    with ScriptedServer(answer(HOSTILE)) as server:
        with on_terminal("chat", lines="\n".join(lines).encode(), AICHATFREE_BASE_URL=server.url) as terminal:
            terminal.finish()
    assert alive(terminal.seen) == []
    assert "saved to" in terminal.seen.decode()


def test_somebody_at_the_terminal() -> None:
    """In colour, with a prompt: there our own sequences are on it, and none of the server's."""
    with ScriptedServer(answer(*(bytes([byte]) for byte in HOSTILE.encode()))) as server:
        with on_terminal("ask", "q", AICHATFREE_BASE_URL=server.url, NO_COLOR="") as terminal:
            assert terminal.finish() == 0
    assert alive(re.sub(rb"\x1b\[27?m", b"", terminal.seen.replace(b"\x1b[7m", b""))) == []
    plain = terminal.seen.replace(b"\x1b[7m", b"").replace(b"\x1b[27m", b"").decode()
    assert plain.startswith(shown(HOSTILE))


@pytest.mark.full
def test_a_pipe_gets_the_bytes(cases: Cases) -> None:
    data = HOSTILE.encode()
    for place in range(1, len(data), 60):
        with cases.case(place), ScriptedServer(answer(data[:place], data[place:])) as server:
            assert run_command("ask", "q", AICHATFREE_BASE_URL=server.url).raw == data


ASK, CHAT, DOCTOR, SERVE = ("ask", "q"), ("chat",), ("doctor",), ("serve", "--port", "0")
NOBODY = "{nobody}"  # stands for a pipe that nobody reads
# How the command is started, which of its streams do not work, what it ends with, and whether the turn is in the file.
# It is forgotten where the answer could not be shown, unless it is whole by then, and only its JSON cannot be.
STREAMS: list[tuple[tuple[str, ...], str, int, bool]] = [
    (ASK, f">&{NOBODY}", 141, False),
    ((*ASK, "--json"), ">/dev/full", 1, True),
    ((*ASK, "--timeout", "-1"), f"2>&{NOBODY}", 2, False),
    ((*ASK, "--timeout", "x"), "2>/dev/full", 2, False),
    (("--help",), f">&{NOBODY}", 141, False),
    # The full run only, from here on.
    (ASK, ">/dev/full", 1, False),
    (ASK, ">&-", 1, False),
    (ASK, f"2>&{NOBODY}", 0, True),
    (ASK, "2>/dev/full", 0, True),
    (ASK, "2>&-", 0, True),
    (ASK, "<&-", 0, True),
    (ASK, f">&{NOBODY} 2>&{NOBODY}", 141, False),
    (ASK, ">/dev/full 2>/dev/full", 1, False),
    (ASK, ">&- 2>&- <&-", 1, False),
    ((*ASK, "--json"), f">&{NOBODY}", 141, True),
    ((*ASK, "--json"), ">&-", 1, True),
    ((*ASK, "--timeout", "x"), f"2>&{NOBODY}", 2, False),
    ((*ASK, "--timeout", "-1"), "2>/dev/full", 2, False),
    ((*ASK, "--timeout", "-1"), "2>&-", 2, False),
    (CHAT, f">&{NOBODY}", 141, False),
    (CHAT, ">/dev/full", 1, False),
    (CHAT, ">&-", 1, False),
    (CHAT, f"2>&{NOBODY}", 0, True),
    (CHAT, "2>/dev/full", 0, True),
    (CHAT, "2>&-", 0, True),
    (CHAT, "<&-", 0, False),
    *(
        (command, redirection, code, False)
        for command in (DOCTOR, (*DOCTOR, "--json"), SERVE, ("--help",), ("ask", "--help"), ("--version",))
        for redirection, code in ((f">&{NOBODY}", 141), (">/dev/full", 1), (f">&{NOBODY} 2>&{NOBODY}", 141))
    ),
]


def with_conversation(command: tuple[str, ...], file: Path) -> list[str]:
    OLD.save(file)
    return [
        *command,
        *(["--conversation", str(file)] if command[0] in ("ask", "chat") and "--help" not in command else []),
    ]


def test_streams_that_do_not_work(tmp_path: Path, cases: Cases) -> None:
    reader, nobody = os.pipe()
    os.close(reader)
    for command, redirection, code, kept in cases.choose(STREAMS[:5], STREAMS):
        with cases.case(command, redirection), ScriptedServer(then=whole(200, '{"code":0}')) as server:
            script = f'"$@" {redirection.replace(NOBODY, str(nobody))}'
            done = subprocess.run(
                ["bash", "-c", script, "bash", *COMMAND, *with_conversation(command, tmp_path / "chat.json")],
                input=b"q\n",
                capture_output=True,
                env=environment(AICHATFREE_BASE_URL=server.url),
                pass_fds=[nobody],
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == code
            assert done.stderr.count(b"\n") <= 1  # a line, or none where there is nobody to read it; never a traceback
            assert (len(Conversation.load(tmp_path / "chat.json").messages) > len(OLD.messages)) == kept
    os.close(nobody)


def test_a_reader_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    with ScriptedServer([CHUNKED, *[chunk("again and again ")] * 100_000]) as server:
        arguments = with_conversation(ASK, tmp_path / "chat.json")
        with started(arguments, AICHATFREE_BASE_URL=server.url) as process:
            assert process.stdout is not None
            assert process.stdout.read(5) == b"again"
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
            assert process.wait(PATIENCE) == 141
    assert Conversation.load(tmp_path / "chat.json") == OLD


@contextlib.contextmanager
def started(arguments: Iterable[str], **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *arguments], stdout=pipe, stderr=pipe, env=environment(**variables)) as process:
        try:
            yield process
        finally:
            process.kill()


ENTER = "\r"
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM, signal.SIGHUP: -signal.SIGHUP}
SLOW: dict[str, tuple[list[list[Step]], str]] = {
    "before the head": ([[Do.HOLD]], "POST "),
    "in the middle of an answer": ([[CHUNKED, chunk("half"), Do.HOLD]], "half"),
    "while waiting for a retry": ([whole(503, "", "Retry-After: 25")], "after OverloadedError"),
}


@pytest.mark.parametrize("moment", SLOW)
def test_a_signal(moment: str, tmp_path: Path, cases: Cases) -> None:
    scripts, sign = SLOW[moment]
    commands, file = {"ask": ["q"], "chat": [f"q{ENTER}"]}, tmp_path / "chat.json"
    for command, sent in [(command, sent) for command in commands for sent in SIGNALS][:: cases.choose(6, 1)]:
        with cases.case(command, sent), ScriptedServer(*scripts) as server:
            arguments = with_conversation((command, *(["q"] if command == "ask" else [])), file)
            variables = {"AICHATFREE_BASE_URL": server.url, "AICHATFREE_LOG": "debug"}
            lines = None if command == "ask" else b"q\nq\n"
            with on_terminal(*arguments, lines=lines, **variables) as terminal:
                terminal.read_until(sign)
                assert server.asked.wait(PATIENCE)
                terminal.send_signal(sent)
                terminal.finish()
                assert terminal.process.returncode == SIGNALS[sent]
            assert b"Traceback" not in terminal.seen
            assert Conversation.load(file) == OLD
            assert os.listdir(tmp_path) == ["chat.json"]  # noqa: PTH208


@pytest.mark.parametrize(
    "moment", [next(iter(SLOW)), *(pytest.param(name, marks=pytest.mark.full) for name in list(SLOW)[1:])]
)
def test_ctrl_c_on_a_terminal(moment: str, tmp_path: Path) -> None:
    scripts, sign = SLOW[moment]
    with ScriptedServer(*scripts) as server:
        variables = {"AICHATFREE_BASE_URL": server.url, "AICHATFREE_LOG": "debug"}
        with on_terminal(*with_conversation(ASK, tmp_path / "chat.json"), **variables) as terminal:
            terminal.read_until(sign)
            assert server.asked.wait(PATIENCE)
            terminal.type(CTRL_C)
            assert terminal.finish() == 130
        assert b"Traceback" not in terminal.seen
    assert Conversation.load(tmp_path / "chat.json") == OLD


@pytest.mark.full
@pytest.mark.parametrize("sent", SIGNALS)
def test_a_signal_at_the_prompt(sent: int, tmp_path: Path) -> None:
    with ScriptedServer(answer("one")) as server:
        arguments = with_conversation(CHAT, tmp_path / "chat.json")
        with on_terminal(*arguments, AICHATFREE_BASE_URL=server.url) as terminal:
            terminal.read_until("ends")
            terminal.read_until(">")
            terminal.type(f"q{ENTER}")
            terminal.read_until("one")
            terminal.read_until(">")
            terminal.send_signal(sent)
            assert terminal.finish() in (SIGNALS[sent], 130)
        assert b"Traceback" not in terminal.seen
    assert [message.content for message in Conversation.load(tmp_path / "chat.json").messages[-2:]] == ["q", "one"]


Function = tuple[str, str]  # how the name of its file ends, and its own
MAIN, SAVE, END = ("cli/__main__.py", "main"), ("storage.py", "write"), ("cli/output.py", "settle_streams")


def struck(folder: Path, function: Function, step: int, sent: int) -> tuple[int, bytes, list[tuple[int, str]]]:
    """Ask, with a signal at that step, and return the exit code, stderr, and what `interrupted_command` tells."""
    folder.mkdir()
    told = folder.with_suffix(".told")
    with ScriptedServer(answer("one")) as server:
        # An import that is interrupted drops its file unclosed, which only developers are told.
        warnings = "error,ignore:unclosed file:ResourceWarning"
        done = subprocess.run(
            [*interrupted_command(told, *function, step, sent), *with_conversation(ASK, folder / "c")],
            capture_output=True,
            env=environment(AICHATFREE_BASE_URL=server.url, PYTHONWARNINGS=warnings),
            timeout=PATIENCE,
            check=False,
        )
    lines = (line.partition(" ") for line in told.read_text().splitlines())
    return done.returncode, done.stderr, [(int(number), place) for number, _, place in lines]


@pytest.mark.parametrize(
    "moment", ["it starts", "it saves", *(pytest.param(it, marks=pytest.mark.full) for it in ("it answers", "it ends"))]
)
def test_a_signal_at_any_step_while(moment: str, tmp_path: Path, cases: Cases) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())

    def told_of(function: Function) -> list[tuple[int, str]]:
        code, err, told = struck(next(folders), function, 0, signal.SIGINT)
        assert (code, err) == (0, b"")
        return told

    draw = random.Random(3).uniform
    steps: Iterable[int]
    if moment == "it starts":
        function, steps = MAIN, [int(10 ** draw(0.5, 5.4)) for _ in range(cases.choose(2, 40))]
    elif moment == "it answers":  # two runs need not come to quite the same number
        function, last = MAIN, told_of(MAIN)[-1][0]
        steps = [last - int(10 ** draw(3, 5)) for _ in range(20)]
    elif moment == "it saves":
        function, told = SAVE, told_of(SAVE)
        opened, synced = (next(it for it, where in told if f"of {name} " in where) for name in ("open", "fsync"))
        steps = cases.choose([synced], range(opened - 5, told[-1][0] + 1, 2))
    else:
        function, steps = END, range(1, told_of(END)[-1][0] + 1)
    for step, sent in zip(steps, itertools.cycle(cases.choose([signal.SIGINT], list(SIGNALS))), strict=False):
        folder = next(folders)
        with cases.case(step, sent):
            code, err, told = struck(folder, function, step, sent)
            assert told[-1][0] == step  # else it was not sent
            if b"Exception ignored" in err:  # Python shows what strikes in a finalizer or a callback, and goes on
                assert (code, sent, err.count(b"KeyboardInterrupt")) == (0, signal.SIGINT, 1)
            else:
                assert (code, err) == (SIGNALS[sent], b"")
            found = Conversation.load(folder / "c")
            assert found == OLD or [message.content for message in found.messages[-2:]] == ["q", "one"]
            assert code or found != OLD
            # The others end the process where it is: what was to take the place of the old file may stay beside it.
            left = [path.suffix for path in folder.iterdir() if path.name != "c"]
            assert left == [] or (sent != signal.SIGINT and (left, found) == ([".tmp"], OLD))
