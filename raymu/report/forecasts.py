"""What remedies were forecast to take, and what they took."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from raymu.core.commands import RepairReport
from raymu.core.events import Event, ShardRepaired
from raymu.core.records import Remedy
from raymu.report.charts import Chart, Mark, log_chart
from raymu.report.formatting import count
from raymu.text import duration


@dataclass(frozen=True, kw_only=True, slots=True)
class RemedyCosts:
    """All remedies of one kind together. *_ratio: actual over forecast, the median of them; None without a forecast

    replaced: how many were carried out in place of a patch that failed; seconds: of compute
    """

    remedy: Remedy
    remedies: int
    replaced: int
    forecast_passes: float
    passes: float
    passes_ratio: float | None
    forecast_seconds: float
    seconds: float
    seconds_ratio: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecasts:
    """passes, seconds: plots of actual over forecast; None without any remedy"""

    costs: tuple[RemedyCosts, ...]
    passes: Chart | None
    seconds: Chart | None


def forecasts_of(events: Iterable[Event]) -> Forecasts:
    """Every remedy once, however many requests it served; settlements too."""
    reports = list(
        {event.report.command_id: event.report for event in events if isinstance(event, ShardRepaired)}.values()
    )
    by_remedy = {remedy: [one for one in reports if one.remedy is remedy] for remedy in Remedy}
    return Forecasts(
        costs=tuple(_costs(remedy, found) for remedy, found in by_remedy.items() if found),
        passes=log_chart([_passes(one) for one in reports]) if reports else None,
        seconds=log_chart([_seconds(one) for one in reports]) if reports else None,
    )


def _costs(remedy: Remedy, reports: Sequence[RepairReport]) -> RemedyCosts:
    return RemedyCosts(
        remedy=remedy,
        remedies=len(reports),
        replaced=sum(one.planned.remedy is not remedy for one in reports),
        forecast_passes=sum(one.planned.passes for one in reports),
        passes=sum(one.passes for one in reports),
        passes_ratio=_ratio([(one.passes, one.planned.passes) for one in reports]),
        forecast_seconds=sum(one.planned.seconds for one in reports),
        seconds=sum(one.seconds for one in reports),
        seconds_ratio=_ratio([(one.seconds, one.planned.seconds) for one in reports]),
    )


def _ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    ratios = [actual / forecast for actual, forecast in pairs if forecast > 0.0]
    return median(ratios) if ratios else None


def _passes(report: RepairReport) -> Mark:
    forecast, actual = report.planned.passes, report.passes
    about = f"shard {report.shard}: {count(forecast)} passes forecast, {count(actual)} made"
    return Mark(x=forecast, y=actual, kind=report.remedy, about=about)


def _seconds(report: RepairReport) -> Mark:
    forecast, actual = report.planned.seconds, report.seconds
    about = f"shard {report.shard}: {duration(forecast)} forecast, {duration(actual)} taken"
    return Mark(x=forecast, y=actual, kind=report.remedy, about=about)
