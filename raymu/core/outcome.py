"""What came of a trace: how long each request waited, what it all cost, and what is still owed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymu.core.records import Exactness, RepairReport, ShardLineage
from raymu.core.workload import settle_passes


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestTimes:
    """Seconds from the start of the trace. repaired_s: when the last shard was past the request"""

    arrived_s: float
    accepted_s: float
    repaired_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceOutcome:
    """requests: in the trace's order; compute_seconds: of all shards together"""

    requests: tuple[RequestTimes, ...]
    shard_passes: tuple[float, ...]
    """Of the remedies of each shard."""
    remedies: int
    passes: float
    compute_seconds: float
    makespan_s: float
    """From the first request's arrival until the last is repaired."""
    p50_s: float
    """Median time from a request's arrival until it is repaired."""
    p95_s: float
    approximate_share: float
    """Of the states that remedies left, those that are only patched."""
    debt_shards: int
    """Shards that settling would retrain at the end, and the sample passes that it would take."""
    debt_passes: int


def outcome_of(
    requests: Sequence[RequestTimes],
    reports: Sequence[RepairReport],
    lineages: Sequence[ShardLineage],
    *,
    epochs: Sequence[int],
) -> TraceOutcome:
    """Sum a trace up. requests: at least one; reports: of all remedies; lineages: of each shard, as they are at the end"""
    waits = [one.repaired_s - one.arrived_s for one in requests]
    shard_passes = [0.0] * len(lineages)
    for report in reports:
        shard_passes[report.shard] += report.passes
    patched = sum(report.exactness is Exactness.APPROXIMATE for report in reports)
    return TraceOutcome(
        requests=tuple(requests),
        shard_passes=tuple(shard_passes),
        remedies=len(reports),
        passes=sum(shard_passes),
        compute_seconds=sum(report.seconds for report in reports),
        makespan_s=max(one.repaired_s for one in requests) - min(one.arrived_s for one in requests),
        p50_s=float(np.quantile(waits, 0.5)),
        p95_s=float(np.quantile(waits, 0.95)),
        approximate_share=patched / len(reports),
        debt_shards=sum(lineage.tainted_from is not None for lineage in lineages),
        debt_passes=settle_passes(lineages, epochs),
    )
