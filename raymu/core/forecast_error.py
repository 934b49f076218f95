"""Compares forecast with actual seconds of repairs, and predicts an interval for the next one."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist

from raymu.core.events import Event, ShardRepaired
from raymu.core.records import Remedy

MEMORY = 0.9
"""Weight of each repair in the estimate relative to the next one, so that about the last ten count."""
FIRST_SPREAD = 0.3
"""Standard deviation of ln(seconds / forecast) that is assumed at first, with the weight of one repair."""
COVERAGE = 0.9
"""Share of repairs, in the long run, whose seconds are within their interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionInterval:
    """Predicted seconds of compute of a repair."""

    low_s: float
    expected_s: float
    """The median."""
    high_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastError:
    """Forecast against actual seconds, over all repairs by one remedy."""

    remedies: int = 0
    forecast_seconds: float = 0.0
    """Total forecast seconds of compute."""
    seconds: float = 0.0
    """Total actual seconds of compute."""
    bias: float = 0.0
    """Running mean of ln(seconds / forecast); positive if repairs take longer than forecast."""
    weight: float = 1.0
    """Running sum of the weights."""
    deviation: float = FIRST_SPREAD**2
    """Running weighted sum of squared deviations from the bias."""

    @property
    def std(self) -> float:
        """Standard deviation of the next ln(seconds / forecast), which includes the uncertainty of the bias."""
        return sqrt(self.deviation / self.weight * (1.0 + 1.0 / self.weight))

    def after(self, forecast_seconds: float, seconds: float) -> "ForecastError":
        """Return the estimate after another repair (West, 1979, with forgetting). Both numbers are positive."""
        weight = MEMORY * self.weight + 1.0
        error = log(seconds / forecast_seconds) - self.bias
        bias = self.bias + error / weight
        return ForecastError(
            remedies=self.remedies + 1,
            forecast_seconds=self.forecast_seconds + forecast_seconds,
            seconds=self.seconds + seconds,
            bias=bias,
            weight=weight,
            deviation=MEMORY * self.deviation + error * (error - error / weight),
        )

    def interval(self, forecast_seconds: float) -> PredictionInterval:
        """Return the interval of a repair with this forecast."""
        reach = NormalDist().inv_cdf((1.0 + COVERAGE) / 2.0) * self.std
        low, expected, high = (forecast_seconds * exp(self.bias + step) for step in (-reach, 0.0, reach))
        return PredictionInterval(low_s=low, expected_s=expected, high_s=high)


class ForecastErrors:
    """The forecast error of each remedy, kept up to date by the events. An event seen already changes nothing."""

    def __init__(self) -> None:
        self._by_remedy = {remedy: ForecastError() for remedy in Remedy}
        self._seen: set[str] = set()

    def handle(self, event: Event) -> None:
        """Take a repair into account if it was carried out as planned."""
        if not isinstance(event, ShardRepaired) or event.report.command_id in self._seen:
            return
        report = event.report
        self._seen.add(report.command_id)
        is_as_planned = report.remedy is report.planned.remedy
        if is_as_planned and report.seconds > 0.0 and report.planned.seconds > 0.0:
            self._by_remedy[report.remedy] = self._by_remedy[report.remedy].after(
                report.planned.seconds, report.seconds
            )

    @property
    def by_remedy(self) -> Mapping[Remedy, ForecastError]:
        """The forecast error of every remedy, those that were never carried out included."""
        return dict(self._by_remedy)
