"""Draws overview.svg, the README's first picture: `python docs/images/draw_overview.py`."""

from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 900, 372
INK, QUIET, LINE = "#1b2733", "#5a6672", "#c9d1d9"
KEPT, NEW, PATCHED, REVOKED = "#0072b2", "#00795a", "#b8730b", "#c0392b"
"""Colours of kept checkpoints, retrained ones, patched ones, and of what is revoked. Shapes and words say the same."""
SHARDS, SLICES = 4, 4
AFFECTED_SHARD, AFFECTED_SLICE = 3, 3
CELL, CELL_HEIGHT, GAP = 76, 34, 8
LEFT, TOP = 62, 84
CHAIN, STEP = 578, 82


def text(
    x: float, y: float, words: str, *, size: int = 13, colour: str = INK, anchor: str = "start", bold: bool = False
) -> str:
    """Return a line of text whose baseline begins, is centred or ends at (x, y)."""
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, *, fill: str, line: str) -> str:
    """Return a box with rounded corners."""
    look = f'rx="5" fill="{fill}" stroke="{line}" stroke-width="1.4"'
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" {look}/>'


def arrow(x: float, y: float, to_x: float, to_y: float, colour: str = QUIET) -> str:
    """Return an arrow."""
    return f'<path d="M{x} {y}L{to_x} {to_y}" stroke="{colour}" stroke-width="1.6" marker-end="url(#tip)" fill="none"/>'


def cross(x: float, y: float, reach: float) -> str:
    """Return a cross that is centred at (x, y)."""
    return (
        f'<path d="M{x - reach} {y - reach}l{2 * reach} {2 * reach}m0 {-2 * reach}l{-2 * reach} {2 * reach}"'
        f' stroke="{REVOKED}" stroke-width="2.6"/>'
    )


def grid() -> list[str]:
    """Draw the shards and their slices, one sample of which is revoked, and the models that vote."""
    shapes = [text(LEFT, 30, "Samples are spread over shards and slices", size=15, bold=True)]
    bottom = TOP + SLICES * (CELL_HEIGHT + GAP)
    for shard in range(1, SHARDS + 1):
        x = LEFT + (shard - 1) * (CELL + GAP)
        affected = shard == AFFECTED_SHARD
        shapes.append(text(x + CELL / 2, TOP - 12, f"shard {shard}", anchor="middle", colour=INK, bold=affected))
        for slice_number in range(1, SLICES + 1):
            y = TOP + (slice_number - 1) * (CELL_HEIGHT + GAP)
            revoked = affected and slice_number == AFFECTED_SLICE
            shapes.append(
                box(
                    x, y, CELL, CELL_HEIGHT, fill="#fdecea" if revoked else "#eef3f8", line=REVOKED if revoked else LINE
                )
            )
            shapes += [
                f'<circle cx="{x + 14 + 16 * dot}" cy="{y + CELL_HEIGHT / 2}" r="3.4" fill="{QUIET}"/>'
                for dot in range(4)
                if not (revoked and dot == 2)
            ]
            if revoked:
                shapes.append(cross(x + 14 + 32, y + CELL_HEIGHT / 2, 6))
        shapes.append(arrow(x + CELL / 2, bottom - 2, x + CELL / 2, bottom + 18))
        shapes.append(box(x, bottom + 22, CELL, 28, fill="#ffffff", line=REVOKED if affected else KEPT))
        shapes.append(
            text(x + CELL / 2, bottom + 41, f"model {shard}", anchor="middle", colour=REVOKED if affected else KEPT)
        )
    for slice_number in range(1, SLICES + 1):
        y = TOP + (slice_number - 1) * (CELL_HEIGHT + GAP) + CELL_HEIGHT / 2 + 4
        shapes.append(text(LEFT - 10, y, f"slice {slice_number}", size=11, colour=QUIET, anchor="end"))
    width = SHARDS * (CELL + GAP) - GAP
    shapes.append(
        text(
            LEFT + width / 2, bottom + 74, "The models vote. Only model 3 has seen the revoked sample.", anchor="middle"
        )
    )
    shapes.append(
        text(
            LEFT + width / 2,
            bottom + 94,
            "A checkpoint is kept after each slice.",
            anchor="middle",
            size=12,
            colour=QUIET,
        )
    )
    return shapes


def checkpoint(number: int, y: float, state: str) -> list[str]:
    """Draw the checkpoint after a slice. state: kept, served, destroyed, new or patched"""
    x = CHAIN + (number - 1) * STEP
    colours = {"kept": KEPT, "served": KEPT, "destroyed": LINE, "new": NEW, "patched": PATCHED}
    fills = {"kept": "#ffffff", "served": KEPT, "destroyed": "#ffffff", "new": NEW, "patched": "#fff4df"}
    colour = colours[state]
    dash = ' stroke-dasharray="4 3"' if state in ("destroyed", "patched") else ""
    shapes = [f'<circle cx="{x}" cy="{y}" r="15" fill="{fills[state]}" stroke="{colour}" stroke-width="2"{dash}/>']
    if state == "destroyed":
        return [*shapes, cross(x, y, 8)]
    label = {"served": "#ffffff", "new": "#ffffff", "patched": PATCHED}.get(state, KEPT)
    return [*shapes, text(x, y + 5, str(number), anchor="middle", colour=label, bold=True)]


def answers() -> list[str]:
    """Draw what becomes of the affected shard's checkpoints: rewound, retrained, patched."""
    left = CHAIN - 106
    shapes = [text(left, 30, "What happens to the checkpoints of shard 3", size=15, bold=True)]
    rows = [
        (
            "rewind",
            "at once: serve the newest checkpoint that never saw the sample",
            ["kept", "served", "destroyed", "destroyed"],
        ),
        ("retrain", "exact: bit for bit a shard that never saw the sample", ["kept", "kept", "new", "new"]),
        (
            "patch",
            "approximate: subtract its contribution, retrain when there is time",
            ["kept", "kept", "destroyed", "patched"],
        ),
    ]
    for row, (name, meaning, states) in enumerate(rows):
        y = 84 + row * 96
        shapes.append(text(left, y + 5, name, size=15, bold=True))
        for number in range(1, SLICES):
            x = CHAIN + (number - 1) * STEP
            trained = states[number] == "new"
            shapes.append(arrow(x + 18, y, x + STEP - 20, y, NEW if trained else LINE))
        for number, state in enumerate(states, start=1):
            shapes += checkpoint(number, y, state)
        shapes.append(text(left, y + 38, meaning, size=12.5, colour=QUIET))
    return shapes


def picture() -> str:
    """Return the whole picture."""
    title = (
        "Samples are spread over four shards of four slices. When a sample of shard 3 is revoked, the shard is rewound at "
        "once, and then retrained, which is exact, or patched, which is approximate."
    )
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        'font-family="Helvetica, Arial, sans-serif">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{QUIET}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff"/>',
        *grid(),
        f'<path d="M436 48V{HEIGHT - 40}" stroke="{LINE}"/>',
        *answers(),
        "</svg>",
    ]
    return "\n".join(shapes) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("overview.svg").write_text(picture(), encoding="utf-8")
