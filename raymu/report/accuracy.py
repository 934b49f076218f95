"""Accuracy over generations: as the journal has it, and as measured for the page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from raymu.core.events import Event, GenerationEvaluated, GenerationPublished
from raymu.report.charts import Chart, Mark, line_chart
from raymu.report.formatting import share
from raymu.report.load import Measured
from raymu.service.prediction import Evaluation
from raymu.text import plural

_LEAST_HEIGHT = 0.02
"""Of the plot's vertical axis, as an accuracy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One generation's accuracy. came_about: why it was published; file: None for the run's own test data"""

    generation: int
    at: datetime
    came_about: str
    samples: int
    accuracy: float
    file: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """course: a plot of two generations or more; has_voters: whether there was any to measure for the page"""

    levels: tuple[Level, ...]
    course: Chart | None
    is_tracked: bool
    has_voters: bool

    @property
    def latest(self) -> Level | None:
        return self.levels[-1] if self.levels else None


def accuracy_of(
    evaluations: Iterable[GenerationEvaluated],
    events: Iterable[Event],
    measured: Measured | None,
    *,
    is_tracked: bool,
    now: datetime,
) -> Accuracy:
    """measured: for the page; is_tracked: whether the run keeps its accuracy"""
    causes = {event.number: _cause(event) for event in events if isinstance(event, GenerationPublished)}
    levels = [_level(one, one.number, causes, at=one.at, file=None) for one in evaluations]
    if measured and (found := measured.evaluation):
        levels.append(_level(found, found.generation, causes, at=now, file=measured.file))
    is_course = len({one.generation for one in levels}) > 1
    return Accuracy(
        levels=tuple(levels),
        course=line_chart([_mark(one) for one in levels], least_height=_LEAST_HEIGHT) if is_course else None,
        is_tracked=is_tracked,
        has_voters=measured is None or measured.evaluation is not None,
    )


def _level(
    found: GenerationEvaluated | Evaluation,
    generation: int,
    causes: Mapping[int, str],
    *,
    at: datetime,
    file: str | None,
) -> Level:
    return Level(
        generation=generation,
        at=at,
        came_about=causes.get(generation, ""),
        samples=found.samples,
        accuracy=found.accuracy,
        file=file,
    )


def _cause(event: GenerationPublished) -> str:
    if event.number == 1:
        return "trained"
    what = (("repaired", event.repaired), ("settled", event.settled), ("rewound", event.rewound))
    told = ", ".join(f"{name} {plural(len(found), 'request')}" for name, found in what if found)
    return told or "one shard repaired, settled or rebuilt"


def _mark(level: Level) -> Mark:
    source = "the run's test data" if level.file is None else level.file
    about = f"generation {level.generation}: {share(level.accuracy)} of {level.samples} samples of {source}"
    return Mark(x=level.generation, y=level.accuracy, kind="tracked" if level.file is None else "measured", about=about)
