"""The state machine of the exchange, as a diagram and as a table, both from its transition table.

Where each state stands and which way each arrow goes is set here by hand. Which arrows there are, and what they are
called, comes from the table: one that has no way here fails the build, and so does a way that has no arrow.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from aichatfree_sdk.core.exchange import TRANSITIONS, Event, State

WIDTH, HEIGHT = 800, 620
BOX_WIDTH, BOX_HEIGHT = 120, 44
LINE_HEIGHT = 20

CENTRES = {
    State.STARTING: (390, 60),
    State.SENDING: (390, 200),
    State.READING: (190, 340),
    State.REFUSED: (590, 340),
    State.CLOSING: (390, 490),
    State.FINISHED: (190, 590),
    State.FAILED: (590, 590),
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
    (_S.STARTING, _S.SENDING): Way("M380,82 V174", (370, 135), "end"),
    (_S.STARTING, _S.FAILED): Way("M450,60 H750 Q780,60 780,90 V570 Q780,600 750,600 H656", (770, 50), "end"),
    (_S.SENDING, _S.STARTING): Way("M400,178 V86", (410, 135), "start"),
    (_S.SENDING, _S.READING): Way("M340,222 L226,314", (260, 264), "end"),
    (_S.SENDING, _S.REFUSED): Way("M440,222 L554,314", (520, 264), "start"),
    (_S.SENDING, _S.CLOSING): Way("M390,222 V464", (398, 345), "start"),
    (_S.SENDING, _S.FAILED): Way("M450,200 H710 Q740,200 740,230 V550 Q740,580 710,580 H656", (730, 170), "end"),
    (_S.READING, _S.READING): Way("M130,330 C80,308 80,372 125,350", (84, 345), "end"),
    (_S.READING, _S.CLOSING): Way("M222,362 L336,464", (216, 395), "end"),
    (_S.REFUSED, _S.REFUSED): Way("M650,330 C700,308 700,372 655,350", (692, 346), "start"),
    (_S.REFUSED, _S.CLOSING): Way("M558,362 L444,464", (564, 395), "start"),
    (_S.CLOSING, _S.CLOSING): Way("M450,480 C500,458 500,522 455,500", (496, 496), "start"),
    (_S.CLOSING, _S.STARTING): Way("M330,490 H50 Q20,490 20,460 V90 Q20,60 50,60 H326", (30, 50), "start"),
    (_S.CLOSING, _S.FINISHED): Way("M360,512 L246,564", (280, 538), "end"),
    (_S.CLOSING, _S.FAILED): Way("M420,512 L534,564", (500, 538), "start"),
}


Transitions = Mapping[tuple[State, Event], frozenset[State]]


def arrows(transitions: Transitions) -> dict[tuple[State, State], list[Event]]:
    """Return which states follow one another, and after what."""
    found: dict[tuple[State, State], list[Event]] = {}
    for (state, event), nexts in transitions.items():
        for following in nexts:
            found.setdefault((state, following), []).append(event)
    return found


def svg(transitions: Transitions = TRANSITIONS) -> str:
    """Return the diagram, to stand in a page: it takes the page's colours."""
    drawn = arrows(transitions)
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
