"""The progress of a command that trains, and the seconds of its phases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console

from raymu.cli.json_document import Printed
from raymu.console.progress import stage_progress
from raymu.service.event_log import is_logged, log_event
from raymu.service.phase import PhaseTimes, phases_timed
from raymu.service.shard.messages import Progress
from raymu.store.codec import to_tree
from raymu.text import forecast_duration


@contextmanager
def work_progress(*, is_shown: bool) -> Iterator[Progress]:
    """Show the progress of all shards, and at the end where the work was done and how long each phase took.

    The JSON document of the command gets both, and so does the log.

    Args:
        is_shown: Whether a terminal shows the progress.

    Yields:
        The listener to call with every stage.
    """
    with phases_timed() as times:
        try:
            with stage_progress(is_shown=is_shown) as progress:
                yield progress
        finally:
            times.begin(None)
            if printed := click.get_current_context().find_object(Printed):
                printed.more = _fields(times)
    if is_logged():
        log_event("phases", **{name.replace(" ", "_"): round(seconds, 3) for name, seconds in times.seconds().items()})
    elif is_shown and (console := Console(stderr=True)).is_terminal:
        console.print(phases_line(times), style="dim", highlight=False, soft_wrap=True)


def phases_line(times: PhaseTimes) -> str:
    """Return one line of where the work was done and how long each phase took."""
    phases = ", ".join(f"{name} {forecast_duration(seconds)}" for name, seconds in times.seconds().items())
    return f"{times.fleet}; {phases}" if times.fleet else phases


def _fields(times: PhaseTimes) -> dict[str, object]:
    fleet = None if times.fleet is None else to_tree(times.fleet)
    return {"fleet": fleet, "phases": {name: round(seconds, 4) for name, seconds in times.seconds().items()}}
