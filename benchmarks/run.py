"""Measure every contender, and write what came of it to docs/performance.md, docs/performance/*.svg and results.json.

``nox -s bench`` runs all of it; ``nox -s bench -- NAME ...`` runs the tables named and keeps the rest of the results.
Contenders run in turn, in processes of their own, every other round from the last to the first; so whatever else the
machine does meets all of them. A ratio is the median of the rounds' ratios, a figure the median of the rounds' figures.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from attrs import field, frozen

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
ROUNDS = 7
# Where a process sleeps between deltas, a round's ratios differ by a tenth, and by a third where all is over in a third
# of a second; so there are more of them.
MANY_ROUNDS, BURST_ROUNDS = 15, 31
LIBRARIES = [
    *("aichatfree_sdk", "httpx", "httpcore", "httpx2", "aiohttp", "requests"),
    *("anyio", "trio", "g4f", "openai", "anthropic", "ollama"),
]
OURS = "aichatfree"
BLOCKING = ["raw", "requests_loop", "httpx_loop", "httpx2_loop", OURS, "aichatfree_httpx2"]
SDKS = ["ollama_sdk", "anthropic_sdk", "openai_sdk"]
ON_ASYNCIO = ["raw", "aiohttp_loop", "g4f_provider", "aichatfree_aiohttp", "httpx_loop", OURS, "httpx2_loop"]
MANY = [*ON_ASYNCIO, "aichatfree_httpx2"]
ON_TRIO = ["httpx_loop", OURS, "httpx2_loop", "aichatfree_httpx2"]
HELD_OPEN = ["aiohttp_loop", "aichatfree_aiohttp", "httpx_loop", OURS, "httpx2_loop", "aichatfree_httpx2"]
PLUS_G4F = ["g4f_client", *SDKS]


@frozen
class Table:
    """One measurement of several contenders.

    Attributes:
        name: of the table, and of its chart.
        title: what is measured.
        runtime: "sync", "asyncio" or "trio".
        workload: a function of `drive`; "import" for the time to import a module; "conversation" for that script.
        number: its argument.
        contenders: modules of `contenders`, in the order of the rows.
        unit: of the figures.
        scale: how many of the unit are a second, or a byte.
        against: a contender of ours, and the one that its ratio is to.
        rounds: how often each contender runs.
    """

    name: str
    title: str
    runtime: str
    workload: str
    number: int
    contenders: list[str]
    unit: str = "us"
    scale: float = 1e6
    against: dict[str, str] = field(factory=lambda: {OURS: "httpx_loop", "aichatfree_httpx2": "httpx2_loop"})
    rounds: int = ROUNDS


AGAINST_AIOHTTP = {OURS: "httpx_loop", "aichatfree_httpx2": "httpx2_loop", "aichatfree_aiohttp": "aiohttp_loop"}
DELTA, REQUEST = "CPU time per delta, one stream of 20,000 in a burst", "CPU time per request, on a kept connection"


def _many(name: str, runtime: str, number: int, contenders: list[str], rounds: int = ROUNDS) -> Table:
    title = f"CPU time per delta, {number:,} streams at once, 50 deltas each, 5,000 a second in all, {runtime}"
    return Table(name, title, runtime, "streams", number, contenders, against=AGAINST_AIOHTTP, rounds=rounds)


TABLES = [
    Table("deltas-sync", f"{DELTA}, blocking", "sync", "deltas", 20_000, [*BLOCKING, *SDKS], rounds=BURST_ROUNDS),
    Table(
        "deltas-asyncio", f"{DELTA}, asyncio", "asyncio", "deltas", 20_000, [*MANY, "g4f_client"],
        against=AGAINST_AIOHTTP, rounds=BURST_ROUNDS,
    ),
    Table("deltas-trio", f"{DELTA}, trio", "trio", "deltas", 20_000, ON_TRIO, rounds=BURST_ROUNDS),
    Table("requests-sync", f"{REQUEST}, blocking", "sync", "requests", 300, [*BLOCKING, *SDKS]),
    Table(
        "requests-asyncio", f"{REQUEST}, asyncio", "asyncio", "requests", 300, [*MANY, "g4f_client"],
        against=AGAINST_AIOHTTP,
    ),
    Table("requests-trio", f"{REQUEST}, trio", "trio", "requests", 300, ON_TRIO),
    Table("first-sync", "Time to the first delta, blocking", "sync", "first", 200, BLOCKING),
    Table(
        "first-asyncio", "Time to the first delta, asyncio", "asyncio", "first", 200, MANY,
        against=AGAINST_AIOHTTP,
    ),
    Table(
        "import", "CPU time of an import", "sync", "import", 0,
        ["httpx", "httpx2", "requests", "aiohttp", "g4f", "ollama", "anthropic", "openai", "aichatfree_sdk"],
        "ms", 1e3, {"aichatfree_sdk": "httpx"},
    ),
    Table(
        "startup", "CPU time from the start to the end of the first answer, blocking", "sync", "startup", 0,
        ["requests_loop", "httpx_loop", "httpx2_loop", OURS, *SDKS], "ms", 1e3, {OURS: "httpx_loop"},
    ),
    _many("streams-100", "asyncio", 100, [*MANY, *PLUS_G4F], MANY_ROUNDS),
    _many("streams-500", "asyncio", 500, ON_ASYNCIO, MANY_ROUNDS),
    _many("streams-1000", "asyncio", 1000, ["raw", "aiohttp_loop", "aichatfree_aiohttp", OURS]),
    _many("streams-100-trio", "trio", 100, ON_TRIO),
    Table(
        "memory", "Memory per open stream that Python has allocated, 200 at once, asyncio", "asyncio", "memory", 200,
        HELD_OPEN, "KiB", 1 / 1024, AGAINST_AIOHTTP,
    ),
    Table(
        "resident", "Resident memory per open stream, 500 that were opened at once, asyncio", "asyncio",
        "resident_memory", 500, HELD_OPEN[:4], "KiB", 1 / 1024, AGAINST_AIOHTTP,
    ),
    Table(
        "large", "Memory at the peak of an answer of 100 MB whose deltas are dropped, blocking", "sync", "large",
        10_000, ["httpx_loop", OURS, "aichatfree_keeps_none"], "MB", 1e-6, {},
    ),
    Table(
        "conversation", "What a history of 10,000 messages adds to a turn, over serialising and signing what is sent",
        "sync", "conversation", 0, ["all of it is sent", "the newest 99 are sent"], "times", 1, {},
    ),
]  # fmt: skip


def command(table: Table, contender: str, port: str) -> list[str]:
    """Return what prints one figure of one contender."""
    if table.workload == "import":
        code = f"import time; began = time.process_time(); import {contender}; print(time.process_time() - began)"
        return ["-c", code]
    number = [str(table.number)] if table.number else []
    return ["drive.py", contender, table.runtime, table.workload, port, *number]


def figures_of(*arguments: str) -> list[float]:
    """Return what a script prints, which has a process of its own."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=HERE)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    return [float(figure) for figure in done.stdout.split()]


def run(table: Table, port: str) -> dict[str, list[float]]:
    """Return the figures of each contender, one a round."""
    figures: dict[str, list[float]] = {contender: [] for contender in table.contenders}
    for number in range(table.rounds):
        if table.workload == "conversation":
            for contender, figure in zip(table.contenders, figures_of("conversation.py"), strict=True):
                figures[contender].append(figure)
            continue
        for contender in table.contenders[:: -1 if number % 2 else 1]:
            figures[contender] += figures_of(*command(table, contender, port))
    return figures


def ratio(figures: dict[str, list[float]], one: str, other: str) -> float:
    """Return the median of the rounds' ratios."""
    return median(a / b for a, b in zip(figures[one], figures[other], strict=True))


def rows(table: Table, figures: dict[str, list[float]]) -> list[str]:
    """Return the table in Markdown; the last column is what the targets are about."""
    lines = [f"### {table.title}", "", f"![{table.title}](performance/{table.name}.svg)", ""]
    if not table.against:  # the figures are ratios, or differences that may be nothing
        lines += [f"| | {table.unit} |", "|---|--:|"]
        return [*lines, *(f"| {label(it)} | {shown(table, values)} |" for it, values in figures.items()), ""]
    base = next((it for it in ("httpx_loop", "httpx") if it in figures), "")
    lines += [f"| | {table.unit} | to httpx | to the same library by hand |", "|---|--:|--:|--:|"]
    for contender, values in figures.items():
        by_hand = table.against.get(contender, "")
        to_hand = f"**{ratio(figures, contender, by_hand):.2f}**" if by_hand in figures else ""
        to_base = f"{ratio(figures, contender, base):.2f}" if base else ""
        lines.append(f"| {label(contender)} | {shown(table, values)} | {to_base} | {to_hand} |")
    return [*lines, ""]


def shown(table: Table, values: list[float]) -> str:
    """Return the median in the unit of the table."""
    return f"{median(values) * table.scale:,.4g}"


LABELS = {
    OURS: "aichatfree_sdk",
    "aichatfree_sdk": "aichatfree_sdk",
    "aichatfree_httpx2": "aichatfree_sdk over httpx2",
    "aichatfree_aiohttp": "aichatfree_sdk over aiohttp",
    "aichatfree_keeps_none": "aichatfree_sdk, keep_text=False",
    "raw": "sockets, no HTTP library (the floor)",
    "g4f_provider": "g4f, a provider's loop",
    "g4f_client": "g4f, its client",
}


def label(contender: str) -> str:
    """Return how a contender is called in a table."""
    by_hand = contender.removesuffix("_loop")
    return LABELS.get(contender, f"{by_hand}, by hand" if by_hand != contender else contender.removesuffix("_sdk"))


def draw(table: Table, figures: dict[str, list[float]]) -> None:
    """Write a chart: a bar for each contender, ours in colour, with the quarter and three-quarter rounds."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # Text stays text, and the grey can be read on white and on black; the salt makes two runs' files comparable.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": table.name, "text.color": "#888", "font.size": 9})
    values = [median(it) * table.scale for it in figures.values()]
    figure, axes = plt.subplots(figsize=(8, 0.5 + 0.3 * len(values)))
    colours = ["#00897b" if contender.startswith(OURS) else "#9e9e9e" for contender in figures]
    bars = axes.barh([label(contender) for contender in figures], values, color=colours)
    axes.bar_label(bars, labels=[f"{value:,.4g} {table.unit}" for value in values], padding=4, color="#888")
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.tick_params(colors="#888", length=0)
    axes.xaxis.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.savefig(
        DOCS / "performance" / f"{table.name}.svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
    )
    plt.close(figure)


BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write(results: dict[str, dict[str, list[float]]]) -> None:
    """Write the JSON, the charts, and the part of the page between its marks."""
    (DOCS / "performance").mkdir(exist_ok=True)
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{python}, {platform.system()} on {platform.machine()}, {os.cpu_count()} cores; {libraries}"
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    data = {"day": today, "machine": machine, "figures": results}
    (DOCS / "performance" / "results.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    for table in TABLES:
        if table.name in results:
            draw(table, results[table.name])
    page = DOCS / "performance.md"
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text("\n".join([before + BEGIN, "", *measured(data), END + after]), "utf-8")


def measured(data: dict[str, Any]) -> list[str]:
    """Return the lines of the page that are measured, from what is in the JSON file."""
    lines = [f"Measured on {data['day']}, at least {ROUNDS} rounds, {data['machine']}.", ""]
    for table in TABLES:
        if table.name in data["figures"]:
            lines += rows(table, data["figures"][table.name])
    return lines


def main(names: list[str]) -> None:
    """Run the tables named, or all."""
    unknown = set(names) - {table.name for table in TABLES}
    if unknown:
        raise SystemExit(
            f"no such table: {', '.join(sorted(unknown))}; there are {', '.join(it.name for it in TABLES)}"
        )
    # A thousand streams are a thousand files, on either side.
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, max(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    earlier = DOCS / "performance" / "results.json"
    results = json.loads(earlier.read_text("utf-8"))["figures"] if names and earlier.exists() else {}
    server = subprocess.Popen([sys.executable, str(HERE / "servers.py")], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    try:
        for table in TABLES:
            if not names or table.name in names:
                results[table.name] = figures = run(table, port)
                print("\n".join(rows(table, figures)), flush=True)
                write(results)  # each as it comes: it takes long, and something may end it
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
