"""Accuracy on the page: of every generation in the journal, and as measured for the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from raymu.core.events import Event, GenerationEvaluated, GenerationPublished
from raymu.report.charts import Chart, Mark, line_chart
from raymu.report.formatting import share
from raymu.report.load import Measurement
from raymu.text import plural

if TYPE_CHECKING:
    from raymu.service.prediction import Evaluation

_MOST_DRAWN = 400
"""Measurements in the plot; of more, some at equal distances, and the last."""
_MIN_HEIGHT = 0.02
"""Smallest height of the plot's vertical axis, as an accuracy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationAccuracy:
    """The accuracy of one generation."""

    generation: int
    at: datetime
    cause: str
    """Why this generation, and those since the measurement before, were published."""
    samples: int
    accuracy: float
    file: str | None
    """Name of the test data; None for the test data of the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """All accuracies that are known."""

    measurements: tuple[GenerationAccuracy, ...]
    chart: Chart | None
    """None for fewer than two generations."""
    is_tracked: bool
    """Whether the run measures its accuracy itself."""
    has_voters: bool
    """Whether a constituent votes, so that the accuracy could be measured."""
    is_share: bool = True
    """Whether it is the share of correct predictions, and not the explained share of the variance of numbers."""

    @property
    def name(self) -> str:
        """The name of the score."""
        return "Accuracy" if self.is_share else "R2"

    @property
    def latest(self) -> GenerationAccuracy | None:
        """Return the last measurement, if there is one."""
        return self.measurements[-1] if self.measurements else None


def accuracy_of(
    evaluations: Iterable[GenerationEvaluated],
    events: Iterable[Event],
    measured: Measurement | None,
    *,
    is_tracked: bool,
    now: datetime,
    is_share: bool = True,
) -> Accuracy:
    """Collect all accuracies.

    Args:
        evaluations: Those in the journal.
        events: All events of the run.
        measured: The accuracy that was measured for the page.
        is_tracked: Whether the run measures its accuracy itself.
        now: When the page is written.
        is_share: Whether the score is the share of correct predictions, and not R2 of numbers.
    """
    published = [event for event in events if isinstance(event, GenerationPublished)]
    measurements: list[GenerationAccuracy] = []
    for evaluation in evaluations:
        since = measurements[-1].generation if measurements else 0
        cause = _cause(published, since=since, until=evaluation.number)
        measurements.append(_measurement(evaluation, evaluation.number, cause, at=evaluation.at, file=None))
    if measured and measured.evaluation:
        latest = measured.evaluation
        earlier = [each.generation for each in measurements if each.generation < latest.generation]
        cause = _cause(published, since=max(earlier, default=0), until=latest.generation)
        measurements.append(_measurement(latest, latest.generation, cause, at=now, file=measured.file))
    has_chart = len({measurement.generation for measurement in measurements}) > 1
    return Accuracy(
        measurements=tuple(measurements),
        chart=line_chart(list(map(_mark, _drawn(measurements))), min_height=_MIN_HEIGHT) if has_chart else None,
        is_tracked=is_tracked,
        has_voters=measured is None or measured.evaluation is not None,
        is_share=is_share,
    )


def _drawn(measurements: Sequence[GenerationAccuracy]) -> list[GenerationAccuracy]:
    step = -(-len(measurements) // _MOST_DRAWN)
    return list(reversed(measurements[::-step]))


def _measurement(
    evaluation: GenerationEvaluated | Evaluation,
    generation: int,
    cause: str,
    *,
    at: datetime,
    file: str | None,
) -> GenerationAccuracy:
    return GenerationAccuracy(
        generation=generation,
        at=at,
        cause=cause,
        samples=evaluation.samples,
        accuracy=evaluation.accuracy,
        file=file,
    )


def _cause(published: Sequence[GenerationPublished], *, since: int, until: int) -> str:
    """Say what the generations after one, up to another, brought."""
    generations = [event for event in published if since < event.number <= until]
    repaired = {request for event in generations for request in event.repaired}
    changes = (
        ("repaired", repaired),
        ("settled", {request for event in generations for request in event.settled}),
        ("rewound", {request for event in generations for request in event.rewound} - repaired),
    )
    causes = ["trained"] if any(event.number == 1 for event in generations) else []
    causes += [f"{change} {plural(len(requests), 'request')}" for change, requests in changes if requests]
    return ", ".join(causes) or "one shard repaired, settled or rebuilt"


def _mark(measurement: GenerationAccuracy) -> Mark:
    is_tracked = measurement.file is None
    source = "the test data of the run" if is_tracked else measurement.file
    label = (
        f"generation {measurement.generation}: {share(measurement.accuracy)} "
        f"of {plural(measurement.samples, 'sample')} of {source}"
    )
    return Mark(
        x=measurement.generation,
        y=measurement.accuracy,
        kind="tracked" if is_tracked else "measured",
        label=label,
    )
