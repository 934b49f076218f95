"""The table of a run's Prometheus metrics: names, kinds, labels and help texts.

No label ever names a person, a sample, an idempotency key or a path: a run is named by its random id, and in one metric by
the name of its directory. Counters begin at 0 for every value of their labels, so that `increase` sees the first event. So do
histograms, where the exporter can begin one without an observation.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from raymu.config.unlearning import Strategy
from raymu.core.receipt import RequestStage
from raymu.core.records import Exactness, Remedy
from raymu.core.verdict import CHECKS, Verdict

TRAINING = "train"
"""Value of the label `remedy` while a run is trained."""


class MetricKind(StrEnum):
    """The way in which measurements of a metric are combined."""

    COUNTER = "counter"
    """A total; a measurement is an increment."""
    GAUGE = "gauge"
    """A current value; a measurement replaces it."""
    HISTOGRAM = "histogram"
    """A distribution; a measurement is one observation."""


class ShardActivity(StrEnum):
    """The activity of a shard."""

    RUNNING = "at_work"
    """A repair is running."""
    WAITING = "waiting"
    """Requests wait for the shard, and no repair is running."""


SHARD_DUTIES: tuple[str, ...] = (*ShardActivity, *Exactness)
"""Values of the label `duty`: what a shard is busy with, or the exactness of an idle one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A metric and its description."""

    name: str
    kind: MetricKind
    unit: str
    """Unit of the value."""
    help: str
    labels: tuple[str, ...]
    """Labels besides `run`, the run's id, which every measurement has."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets; empty for other kinds."""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """All values of each label of a counter or a histogram."""

    def __post_init__(self) -> None:
        if (self.kind is MetricKind.HISTOGRAM) != bool(self.buckets):
            raise ValueError(f"{self.name}: a histogram has buckets, and other kinds have none")
        if any(bound <= 0.0 for bound in self.buckets) or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"{self.name}: buckets {self.buckets} do not rise from above 0")
        if self.kind is not MetricKind.GAUGE and set(self.values) != set(self.labels):
            raise ValueError(f"{self.name}: a {self.kind} knows all values of its labels beforehand")

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the metric's series in Prometheus: Ray adds a prefix, and `_total` to counters."""
        match self.kind:
            case MetricKind.COUNTER:
                return (f"ray_{self.name}_total",)
            case MetricKind.GAUGE:
                return (f"ray_{self.name}",)
            case MetricKind.HISTOGRAM:
                return tuple(f"ray_{self.name}_{part}" for part in ("bucket", "sum", "count"))

    @property
    def label_values(self) -> Iterator[Mapping[str, str]]:
        """Yield every combination of label values of a counter or a histogram."""
        for combination in product(*self.values.values()):
            yield dict(zip(self.values, combination, strict=True))

    @property
    def zeros(self) -> Iterator["Measurement"]:
        """Yield a 0 for every combination of label values of a counter."""
        for values in self.label_values:
            yield self.of(0.0, **values)

    def of(self, value: float, **labels: str) -> "Measurement":
        """Make a measurement. Raises ValueError unless the labels are those of the metric."""
        return Measurement(metric=self, value=value, labels=labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A value of a metric."""

    metric: Metric
    value: float
    labels: Mapping[str, str]
    """Label values, without the run's id."""

    def __post_init__(self) -> None:
        if set(self.labels) != set(self.metric.labels):
            raise ValueError(f"{self.metric.name} has labels {self.metric.labels}, not {tuple(self.labels)}")


def _counter(name: str, unit: str, text: str, **values: tuple[str, ...]) -> Metric:
    kind = MetricKind.COUNTER
    return Metric(name=f"raymu_{name}", kind=kind, unit=unit, help=text, labels=tuple(values), values=values)


def _gauge(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"raymu_{name}", kind=MetricKind.GAUGE, unit=unit, help=text, labels=labels)


def _histogram(name: str, unit: str, text: str, buckets: tuple[float, ...], **values: tuple[str, ...]) -> Metric:
    return Metric(
        name=f"raymu_{name}",
        kind=MetricKind.HISTOGRAM,
        unit=unit,
        help=text,
        labels=tuple(values),
        buckets=buckets,
        values=values,
    )


_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 14400.0, 86400.0)
_SECONDS_PER_PASS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)

_REMEDIES: tuple[str, ...] = tuple(Remedy)

RUN = _gauge("run", "", "Always 1: `name` is the name of the run's directory", "name")
REQUESTS = _gauge("requests", "requests", "Requests by the stage that they have reached", "state")
SHARDS = _gauge("shards", "shards", "Shards by what they are busy with, idle ones by their exactness", "duty")
SAMPLES = _gauge("samples", "samples", "Samples that the run retains")
WORKERS = _gauge("workers", "workers", "Number of shards that can be trained or repaired side by side")
DEBT_SHARDS = _gauge("debt_shards", "shards", "Number of patched shards, which settling would retrain")
DEBT_PASSES = _gauge("debt_passes", "passes", "Forecast sample passes of settling every patched shard")
NEXT_DUE = _gauge(
    "next_due_timestamp_seconds",
    "seconds",
    "Unix time at which the next request that is not exact is due; 0 if all are exact",
)
GROUP_REQUESTS = _gauge("group_requests", "requests", "Repaired requests that wait for their group to become visible")
GROUP_DUE = _gauge(
    "group_due_timestamp_seconds",
    "seconds",
    "Unix time at which the waiting group becomes visible, however small it is; 0 if none waits",
)
SETTLE_BY = _gauge(
    "settle_by_timestamp_seconds",
    "seconds",
    "Latest Unix time at which settling can begin so that every request is exact in time; 0 if nothing is owed",
)
DEADLINE_SLACK = _gauge(
    "deadline_slack_seconds",
    "seconds",
    "Seconds left until settling must begin; negative if a request will be exact too late. Absent if nothing is owed",
)
OVERDUE = _gauge("overdue_requests", "requests", "Requests that are due and not exact yet")
MISSED = _gauge(
    "missed_requests",
    "requests",
    "All requests that were not exact when they were due: overdue ones, and those exact by now",
)
SHARD_SECONDS_PER_PASS = _gauge(
    "shard_seconds_per_pass",
    "seconds",
    "Measured seconds of a sample pass of one shard, in runs of at most 64",
    "shard",
)
ACCURACY = _gauge(
    "accuracy", "ratio", "Accuracy of the generation that was evaluated last, if data.track_accuracy is set"
)

PREDICTION_CHANGE = _gauge(
    "prediction_change",
    "ratio",
    "Mean absolute difference of the true label's probability between two states of a shard: patched and retrained "
    "(residual), untouched and retrained, before and after a patch (patched)",
    "states",
    "samples",
)

LAST_VERDICT = _gauge(
    "last_verdict",
    "",
    "1 for the verdict that `raymu verify` or `raymu audit` ended with last, and 0 for the others",
    "check",
    "verdict",
)
LAST_VERDICT_AT = _gauge(
    "last_verdict_timestamp_seconds",
    "seconds",
    "Unix time of the last verdict of `raymu verify` or `raymu audit`; 0 if there is none",
    "check",
)
LAST_VERDICT_GENERATION = _gauge(
    "last_verdict_generation", "", "Number of the generation that was checked last; 0 if there is none", "check"
)

ACCEPTED = _counter("accepted_requests", "requests", "Accepted requests by their strategy", strategy=tuple(Strategy))
VERDICTS = _counter(
    "verdicts",
    "verdicts",
    "Verdicts of `raymu verify` and `raymu audit` while a coordinator or a service is up",
    check=CHECKS,
    verdict=tuple(Verdict),
)
REPAIRS = _counter("repairs", "remedies", "Repairs that are done", remedy=_REMEDIES)
REPAIR_FAILURES = _counter("repair_failures", "remedies", "Repairs that failed; each of them is tried again")
GENERATIONS = _counter("generations", "generations", "Published generations")
DESTROYED_SAMPLES = _counter("destroyed_samples", "samples", "Destroyed copies of revoked samples")
PASSES = _counter("passes", "passes", "Sample passes of training and repairs", remedy=(TRAINING, *_REMEDIES))
COMPUTE_SECONDS = _counter(
    "compute_seconds",
    "seconds",
    "Compute seconds of training and repairs, summed over workers",
    remedy=(TRAINING, *_REMEDIES),
)

REPAIR_SECONDS = _histogram("repair_seconds", "seconds", "Seconds of compute of a repair", _SECONDS, remedy=_REMEDIES)
SECONDS_PER_PASS = _histogram(
    "seconds_per_pass",
    "seconds",
    "Seconds of a sample pass, measured at each stage",
    _SECONDS_PER_PASS,
    remedy=(TRAINING, *_REMEDIES),
)
REQUEST_SECONDS = _histogram(
    "request_seconds",
    "seconds",
    "Seconds from a request's arrival until it reached the stage in `state`",
    _SECONDS,
    state=tuple(stage for stage in RequestStage if stage is not RequestStage.ACCEPTED),
)

METRICS: tuple[Metric, ...] = (
    RUN,
    REQUESTS,
    SHARDS,
    SAMPLES,
    WORKERS,
    DEBT_SHARDS,
    DEBT_PASSES,
    NEXT_DUE,
    GROUP_REQUESTS,
    GROUP_DUE,
    SETTLE_BY,
    DEADLINE_SLACK,
    OVERDUE,
    MISSED,
    SHARD_SECONDS_PER_PASS,
    ACCURACY,
    PREDICTION_CHANGE,
    LAST_VERDICT,
    LAST_VERDICT_AT,
    LAST_VERDICT_GENERATION,
    ACCEPTED,
    VERDICTS,
    REPAIRS,
    REPAIR_FAILURES,
    GENERATIONS,
    DESTROYED_SAMPLES,
    PASSES,
    COMPUTE_SECONDS,
    REPAIR_SECONDS,
    SECONDS_PER_PASS,
    REQUEST_SECONDS,
)
