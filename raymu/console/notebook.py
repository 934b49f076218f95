"""Progress in the output of a notebook's cell, for callers that listen to none themselves. Elsewhere nothing is shown.

The bars are those of HTML, which follow the notebook's colours, so no package of widgets is needed.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from types import TracebackType
from typing import Any, Self

from raymu.console.fleet_progress import FleetProgress, clock_text, counts_line
from raymu.service.phase import STARTING, Count, PhaseListener, no_count, no_phase, phases_heard_by
from raymu.service.shard.messages import Progress, StageProgress, no_progress
from raymu.text import plural

_PERIOD_S = 0.2
"""Least seconds between two drawings."""
_MAX_LINES = 12
"""Most running shards with a bar of their own."""


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class CellOutput:
    """An output of the cell that is at work, drawn again in its place. It is left empty if nothing was counted."""

    def __init__(self, draw: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        """Show nothing yet.

        Args:
            draw: Returns the HTML.
            clock: Returns seconds since any fixed time.
        """
        self._draw, self._clock = draw, clock
        self._handle: Any = None
        self._drawn_s = 0.0
        self.is_kept = False
        """Whether the last drawing stays."""

    def redraw(self) -> None:
        """Draw again, unless that was done just before."""
        if self._clock() - self._drawn_s >= _PERIOD_S:
            self._update(self._draw())

    def __enter__(self) -> Self:
        from IPython.display import display

        self._handle = display(_bundle(self._draw()), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        self._drawn_s = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._update(self._draw() if self.is_kept else "")

    def _update(self, html: str) -> None:
        self._drawn_s = self._clock()
        if self._handle is not None:  # None outside of a cell
            self._handle.update(_bundle(html), raw=True)


@contextmanager
def stages_shown(progress: Progress) -> Iterator[Progress]:
    """Show stages in the cell, if this is a notebook and the caller listens to none.

    Args:
        progress: The caller's listener.

    Yields:
        The listener to call with every stage.
    """
    if progress is not no_progress or not in_notebook():
        yield progress
        return
    fleet = FleetProgress(time.monotonic)
    with CellOutput(lambda: fleet_html(fleet)) as cell:

        def hear_phase(name: str) -> None:
            fleet.begin_phase(name)
            cell.redraw()

        def hear_stage(stage: StageProgress) -> None:
            fleet(stage)
            cell.is_kept = True
            cell.redraw()

        with phases_heard_by(hear_phase):
            yield hear_stage


@contextmanager
def counts_shown(noun: str, count: Count, phase: PhaseListener = no_phase) -> Iterator[tuple[Count, PhaseListener]]:
    """Show counted work in the cell, if this is a notebook and the caller listens to none.

    Args:
        noun: Name of one counted thing.
        count: The caller's listener to counts.
        phase: The caller's listener to the parts of the work.

    Yields:
        The listeners to call with the number done and of all, and with the name of each part.
    """
    if count is not no_count or phase is not no_phase or not in_notebook():
        yield count, phase
        return
    now = _Counted(noun)
    with CellOutput(now.html) as cell:

        def hear_count(done: int, total: int) -> None:
            now.done, now.total = done, total
            cell.is_kept = True
            cell.redraw()

        def hear_phase(name: str) -> None:
            now.phase = name
            cell.redraw()

        with phases_heard_by(hear_phase):
            yield hear_count, hear_phase


class _Counted:
    """Counted work, and the part of it that is done now."""

    def __init__(self, noun: str) -> None:
        self._noun, self.phase = noun, STARTING
        self.done, self.total = 0, 0

    def html(self) -> str:
        """Return the phase, with a bar once there is something to count. Without a total, the count alone."""
        if not self.total:
            return _note(plural(self.done, self._noun) if self.done else self.phase)
        has_phase = self.done < self.total and self.phase != STARTING
        text = f"{self.done:,} of {plural(self.total, self._noun)}{f': {self.phase}' if has_phase else ''}"
        return _table([("", self.done / self.total, text)])


def fleet_html(progress: FleetProgress) -> str:
    """Return the phase before the first stage, and then a bar for all shards and for each that runs, and the counts."""
    if not progress.shards:
        return _note(f"{progress.phase}: {clock_text(progress.phase_s)}")
    rows = [("all", progress.fraction, f"{progress.done} of {progress.shards} shards")]
    for shard in progress.running[:_MAX_LINES]:
        done = f"{shard.done} of {shard.stages} stages" if shard.stages else "begun"
        rows.append((f"shard {shard.shard} {shard.remedy}".rstrip(), shard.fraction, done))
    return _table(rows) + _note(counts_line(progress))


def _table(rows: Sequence[tuple[str, float, str]]) -> str:
    """Return rows of a name, a bar and a text."""
    lines = (
        f'<tr><td>{escape(name)}</td><td><progress value="{fraction:.4f}" max="1"></progress></td>'
        f'<td style="text-align: left">{escape(text)}</td></tr>'
        for name, fraction, text in rows
    )
    return f"<table>{''.join(lines)}</table>"


def _note(text: str) -> str:
    return f"<div>{escape(text)}</div>"


def _bundle(html: str) -> dict[str, str]:
    return {"text/html": html, "text/plain": ""}
