"""What is measured of a run, as Prometheus has it: names, kinds and labels, and single measurements.

No label ever names a person, a sample, an idempotency key or a path: a run is named by its random id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

TRAINING = "train"
"""The label `remedy` while a run is trained."""


class MetricKind(StrEnum):
    COUNTER = "counter"
    """What is added up; a measurement is how much more."""
    GAUGE = "gauge"
    """What is so now."""
    HISTOGRAM = "histogram"
    """A distribution; a measurement is one more observation."""


class RequestStage(StrEnum):
    """How far a request has come."""

    ACCEPTED = "accepted"
    REWOUND = "rewound"
    PUBLISHED = "published"
    PURGED = "purged"
    """And not exact: left to settle."""
    SETTLED = "settled"
    """Exact and purged: done with."""


class ShardActivity(StrEnum):
    """What is left to do at a shard."""

    AT_WORK = "at_work"
    WAITING = "waiting"
    """Requests wait for it, and no remedy is at work."""
    APPROXIMATE = "approximate"
    """Patched, and left to settle."""
    INCONCLUSIVE = "inconclusive"
    """Retrained, in another determinism class than its earlier stages."""
    EXACT = "exact"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A name that measurements go by. unit: of the value; buckets: upper bounds, of a histogram only"""

    name: str
    kind: MetricKind
    unit: str
    help: str
    labels: tuple[str, ...]
    """Beside the run's id, `run`, which every measurement has."""
    buckets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind is MetricKind.HISTOGRAM) != bool(self.buckets):
            raise ValueError(f"{self.name}: a histogram has buckets, and nothing else has")
        if any(bound <= 0.0 for bound in self.buckets) or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"{self.name}: buckets {self.buckets} do not rise from above 0")

    @property
    def series(self) -> tuple[str, ...]:
        """The names by which Prometheus has it: Ray puts its own before, and a counter says that it is a total."""
        match self.kind:
            case MetricKind.COUNTER:
                return (f"ray_{self.name}_total",)
            case MetricKind.GAUGE:
                return (f"ray_{self.name}",)
            case MetricKind.HISTOGRAM:
                return tuple(f"ray_{self.name}_{part}" for part in ("bucket", "sum", "count"))

    def of(self, value: float, **labels: str) -> "Measurement":
        return Measurement(metric=self, value=value, labels=labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """labels: beside the run's"""

    metric: Metric
    value: float
    labels: Mapping[str, str]

    def __post_init__(self) -> None:
        if set(self.labels) != set(self.metric.labels):
            raise ValueError(f"{self.metric.name} has labels {self.metric.labels}, not {tuple(self.labels)}")


def _counter(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"raymu_{name}", kind=MetricKind.COUNTER, unit=unit, help=text, labels=labels)


def _gauge(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"raymu_{name}", kind=MetricKind.GAUGE, unit=unit, help=text, labels=labels)


def _histogram(name: str, unit: str, text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    kind = MetricKind.HISTOGRAM
    return Metric(name=f"raymu_{name}", kind=kind, unit=unit, help=text, labels=labels, buckets=buckets)


_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 14400.0, 86400.0)
_SECONDS_PER_PASS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)

REQUESTS = _gauge("requests", "requests", "Requests by how far they have come", "state")
SHARDS = _gauge("shards", "shards", "Shards by what is left to do there", "duty")
SAMPLES = _gauge("samples", "samples", "Retained samples")
WORKERS = _gauge("workers", "workers", "Shards that can be at work side by side")
DEBT_SHARDS = _gauge("debt_shards", "shards", "Shards that settling would retrain")
DEBT_PASSES = _gauge("debt_passes", "passes", "Sample passes that settling would take")
NEXT_DUE = _gauge(
    "next_due_timestamp_seconds", "seconds", "When the first request that is not exact yet is due; 0 for none"
)
SETTLE_BY = _gauge(
    "settle_by_timestamp_seconds",
    "seconds",
    "When settling must begin, for every request to be exact in time; 0: never",
)
DEADLINE_SLACK = _gauge(
    "deadline_slack_seconds",
    "seconds",
    "Until settling must begin; below 0 a request will be exact too late. There only while something is owed",
)
SHARD_SECONDS_PER_PASS = _gauge(
    "shard_seconds_per_pass", "seconds", "Measured seconds of a sample pass; of runs with few shards", "shard"
)
ACCURACY = _gauge("accuracy", "ratio", "Of the generation that was measured last, where data.track_accuracy is set")

REPAIRS = _counter("repairs", "remedies", "Remedies carried out", "remedy")
REPAIR_FAILURES = _counter("repair_failures", "remedies", "Remedies that did not come back; they are taken up again")
GENERATIONS = _counter("generations", "generations", "Generations published")
DESTROYED_SAMPLES = _counter("destroyed_samples", "samples", "The run's own copies of revoked samples, destroyed")
PASSES = _counter("passes", "passes", "Sample passes trained", "remedy")
COMPUTE_SECONDS = _counter("compute_seconds", "seconds", "Seconds of compute, of all workers together", "remedy")

REPAIR_SECONDS = _histogram("repair_seconds", "seconds", "Seconds of compute of a remedy", _SECONDS, "remedy")
SECONDS_PER_PASS = _histogram(
    "seconds_per_pass", "seconds", "Seconds of a sample pass, by stages", _SECONDS_PER_PASS, "remedy"
)
REQUEST_SECONDS = _histogram(
    "request_seconds", "seconds", "From a request's arrival until it came so far", _SECONDS, "state"
)

METRICS: tuple[Metric, ...] = (
    REQUESTS,
    SHARDS,
    SAMPLES,
    WORKERS,
    DEBT_SHARDS,
    DEBT_PASSES,
    NEXT_DUE,
    SETTLE_BY,
    DEADLINE_SLACK,
    SHARD_SECONDS_PER_PASS,
    ACCURACY,
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
