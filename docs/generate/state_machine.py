"""The state machine of the exchange, as a diagram and as a table, both from its transition table.

Where each state stands and which way each arrow goes is set here by hand. Which arrows there are, and what they are
called, comes from the table: one that has no way here fails the build, and so does a way that has no arrow.
"""

from __future__ import annotations

from attrs import frozen

from aichatfree_sdk.core.exchange import TRANSITIONS, Event, State

WIDTH, HEIGHT = 920, 620
BOX_WIDTH, BOX_HEIGHT = 130, 44
LINE_HEIGHT = 18

CENTRES = {
    State.STARTING: (450, 60),
    State.SENDING: (450, 200),
    State.READING: (230, 340),
    State.REFUSED: (670, 340),
    State.CLOSING: (450, 480),
    State.FINISHED: (230, 585),
    State.FAILED: (670, 585),
}
FRAME = f"""\
<svg class="state-machine" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="The transition table as a diagram">
<defs><marker id="head" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0,0 L10,5 L0,10 z"/></marker></defs>
{{}}
</svg>"""


@frozen
class Way:
    """The way of an arrow.

    Args:
        path: of an SVG path.
        label: where its first line stands.
        anchor: which part of the line that is: start, middle or end.
    """

    path: str
    label: tuple[int, int]
    anchor: str


_S = State
WAYS = {
    (_S.STARTING, _S.SENDING): Way("M440,82 V174", (430, 132), "end"),
    (_S.STARTING, _S.FAILED): Way("M515,60 H840 Q870,60 870,90 V565 Q870,595 840,595 H740", (860, 50), "end"),
    (_S.SENDING, _S.STARTING): Way("M460,178 V86", (470, 132), "start"),
    (_S.SENDING, _S.READING): Way("M400,222 L266,314", (318, 264), "end"),
    (_S.SENDING, _S.REFUSED): Way("M500,222 L634,314", (582, 264), "start"),
    (_S.SENDING, _S.CLOSING): Way("M450,222 V454", (458, 345), "start"),
    (_S.SENDING, _S.FAILED): Way("M515,200 H800 Q820,200 820,220 V555 Q820,575 800,575 H740", (810, 172), "end"),
    (_S.READING, _S.READING): Way("M165,330 C105,308 105,372 160,350", (112, 345), "end"),
    (_S.READING, _S.CLOSING): Way("M262,362 L396,454", (262, 400), "end"),
    (_S.REFUSED, _S.REFUSED): Way("M735,330 C790,308 790,372 740,350", (752, 385), "start"),
    (_S.REFUSED, _S.CLOSING): Way("M638,362 L504,454", (620, 400), "start"),
    (_S.CLOSING, _S.CLOSING): Way("M515,470 C575,448 575,512 520,490", (568, 485), "start"),
    (_S.CLOSING, _S.STARTING): Way("M385,480 H60 Q30,480 30,450 V90 Q30,60 60,60 H380", (40, 50), "start"),
    (_S.CLOSING, _S.FINISHED): Way("M420,502 L286,560", (330, 530), "end"),
    (_S.CLOSING, _S.FAILED): Way("M480,502 L614,560", (570, 530), "start"),
}


def arrows() -> dict[tuple[State, State], list[Event]]:
    """Return which states follow one another, and after what."""
    found: dict[tuple[State, State], list[Event]] = {}
    for (state, event), nexts in TRANSITIONS.items():
        for following in nexts:
            found.setdefault((state, following), []).append(event)
    return found


def svg() -> str:
    """Return the diagram, to stand in a page: it takes the page's colours."""
    drawn = arrows()
    if drawn.keys() != WAYS.keys():
        raise ValueError(f"arrows without a way, or ways without an arrow: {drawn.keys() ^ WAYS.keys()}")
    lines = [*(arrow(way, drawn[ends]) for ends, way in WAYS.items()), *(box(state) for state in CENTRES)]
    return FRAME.format("\n".join(lines))


def arrow(way: Way, events: list[Event]) -> str:
    """Return an arrow with its label, one event a line."""
    x, y = way.label
    lines = "".join(
        f'<tspan x="{x}" y="{y + LINE_HEIGHT * number}">{event.value}</tspan>' for number, event in enumerate(events)
    )
    return f'<path class="way" d="{way.path}" marker-end="url(#head)"/><text text-anchor="{way.anchor}">{lines}</text>'


def box(state: State) -> str:
    """Return the box of a state; the end of an exchange has a thicker border."""
    x, y = CENTRES[state]
    kind = "state" if any(start is state for start, _ in TRANSITIONS) else "state end"
    return (
        f'<rect class="{kind}" x="{x - BOX_WIDTH // 2}" y="{y - BOX_HEIGHT // 2}" '
        f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/><text class="name" x="{x}" y="{y + 5}">{state.value}</text>'
    )


def table() -> str:
    """Return the table."""
    rows = [
        f"| {state.value} | {event.value} | {', '.join(each.value for each in State if each in nexts)} |"
        for (state, event), nexts in TRANSITIONS.items()
    ]
    return "\n".join(["| state | event | next state |", "|---|---|---|", *rows])
