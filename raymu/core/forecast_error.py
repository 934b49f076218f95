"""How forecasts of seconds hold against what remedies take, and what to expect of the next one."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist

from raymu.core.events import Event, ShardRepaired
from raymu.core.records import Remedy

MEMORY = 0.9
"""Weight of each remedy in the estimate, relative to the one after it: the last ten or so count."""
FIRST_SPREAD = 0.3
"""Standard deviation of ln(seconds / forecast) before any remedy has told better; it counts as one remedy."""
COVERAGE = 0.9
"""Share of remedies, in the long run, that take a time within their interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionInterval:
    """Seconds of compute that a remedy takes. expected_s: the median"""

    low_s: float
    expected_s: float
    high_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastError:
    """Forecast against actual, over all remedies of one kind."""

    remedies: int = 0
    forecast_seconds: float = 0.0
    """Of all of them together, like seconds."""
    seconds: float = 0.0
    bias: float = 0.0
    """Running mean of ln(seconds / forecast): above 0 where remedies take longer than forecast."""
    weight: float = 1.0
    deviation: float = FIRST_SPREAD**2
    """Running weighted sum of squared deviations from the bias."""

    @property
    def spread(self) -> float:
        """Standard deviation of the next ln(seconds / forecast), the bias being an estimate itself."""
        return sqrt(self.deviation / self.weight * (1.0 + 1.0 / self.weight))

    def after(self, forecast_seconds: float, seconds: float) -> "ForecastError":
        """Take another remedy in (West, 1979, with forgetting). forecast_seconds, seconds: above 0"""
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
        """What to expect where so much is forecast."""
        reach = NormalDist().inv_cdf((1.0 + COVERAGE) / 2.0) * self.spread
        low, expected, high = (forecast_seconds * exp(self.bias + step) for step in (-reach, 0.0, reach))
        return PredictionInterval(low_s=low, expected_s=expected, high_s=high)


class ForecastErrors:
    """The pace of every remedy, kept up to date by the events. One that was seen already changes nothing."""

    def __init__(self) -> None:
        self._paces = {remedy: ForecastError() for remedy in Remedy}
        self._seen: set[str] = set()

    def handle(self, event: Event) -> None:
        if not isinstance(event, ShardRepaired) or event.report.command_id in self._seen:
            return
        report = event.report
        self._seen.add(report.command_id)
        is_as_planned = report.remedy is report.planned.remedy
        if is_as_planned and report.seconds > 0.0 and report.planned.seconds > 0.0:
            self._paces[report.remedy] = self._paces[report.remedy].after(report.planned.seconds, report.seconds)

    @property
    def paces(self) -> Mapping[Remedy, ForecastError]:
        """Of every remedy; one that was never carried out has told nothing yet."""
        return dict(self._paces)
