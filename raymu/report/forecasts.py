"""The forecast and the actual cost of all repairs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from raymu.core.commands import RepairReport
from raymu.core.events import Event, ShardRepaired
from raymu.core.records import Remedy
from raymu.report.charts import Chart, Mark, log_chart
from raymu.report.formatting import count
from raymu.text import duration

MOST_DRAWN = 400
"""Repairs in a plot: more marks would hide each other, and make the page long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemedyCosts:
    """The costs of all repairs with one remedy. Ratios are medians of actual over forecast, None without a forecast."""

    remedy: Remedy
    repairs: int
    replaced: int
    """Repairs that were done instead of a patch that failed."""
    forecast_passes: float
    passes: float
    passes_ratio: float | None
    forecast_seconds: float
    """Compute time."""
    seconds: float
    """Compute time."""
    seconds_ratio: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecasts:
    """The costs by remedy, and plots of actual against forecast, which are None without repairs."""

    costs: tuple[RemedyCosts, ...]
    passes: Chart | None
    seconds: Chart | None
    drawn: int
    """Repairs in the plots, the latest ones."""
    hidden: int
    """Earlier repairs, which only the costs have."""


def forecasts_of(events: Iterable[Event]) -> Forecasts:
    """Collect the costs of all repairs, settlements too. Each repair counts once, for any number of requests."""
    reports = list(
        {event.report.command_id: event.report for event in events if isinstance(event, ShardRepaired)}.values()
    )
    by_remedy = {remedy: [report for report in reports if report.remedy is remedy] for remedy in Remedy}
    latest = reports[-MOST_DRAWN:]
    return Forecasts(
        costs=tuple(_costs(remedy, repairs) for remedy, repairs in by_remedy.items() if repairs),
        passes=log_chart(list(map(_passes_mark, latest))) if reports else None,
        seconds=log_chart(list(map(_seconds_mark, latest))) if reports else None,
        drawn=len(latest),
        hidden=len(reports) - len(latest),
    )


def _costs(remedy: Remedy, reports: Sequence[RepairReport]) -> RemedyCosts:
    return RemedyCosts(
        remedy=remedy,
        repairs=len(reports),
        replaced=sum(report.planned.remedy is not remedy for report in reports),
        forecast_passes=sum(report.planned.passes for report in reports),
        passes=sum(report.passes for report in reports),
        passes_ratio=_ratio([(report.passes, report.planned.passes) for report in reports]),
        forecast_seconds=sum(report.planned.seconds for report in reports),
        seconds=sum(report.seconds for report in reports),
        seconds_ratio=_ratio([(report.seconds, report.planned.seconds) for report in reports]),
    )


def _ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    ratios = [actual / forecast for actual, forecast in pairs if forecast > 0.0]
    return median(ratios) if ratios else None


def _passes_mark(report: RepairReport) -> Mark:
    forecast, actual = report.planned.passes, report.passes
    label = f"shard {report.shard}: {count(forecast)} passes forecast, {count(actual)} actual"
    return Mark(x=forecast, y=actual, kind=report.remedy, label=label)


def _seconds_mark(report: RepairReport) -> Mark:
    forecast, actual = report.planned.seconds, report.seconds
    label = f"shard {report.shard}: {duration(forecast)} forecast, {duration(actual)} actual"
    return Mark(x=forecast, y=actual, kind=report.remedy, label=label)
