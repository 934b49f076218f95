"""When a snapshot is due: after many events, or after few that name many requests."""

from datetime import UTC, datetime

from raymu.core.events import Event, GenerationPublished, RequestsPurged, WorkResumed
from raymu.service.snapshot import EVENTS_PER_SNAPSHOT, REQUESTS_PER_SNAPSHOT, ReplayCost

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def cost_of(*events: Event) -> ReplayCost:
    cost = ReplayCost()
    for event in events:
        cost.add(event)
    return cost


def names(count: int) -> tuple[str, ...]:
    return tuple(f"request-{number}" for number in range(count))


def purge(count: int) -> RequestsPurged:
    return RequestsPurged(at=NOW, request_ids=names(count), files=(), rows=0)


def test_many_events_make_a_snapshot_due() -> None:
    resumed = WorkResumed(at=NOW)
    assert not cost_of(*[resumed] * (EVENTS_PER_SNAPSHOT - 1)).is_due(size=8)
    assert cost_of(*[resumed] * EVENTS_PER_SNAPSHOT).is_due(size=8)


def test_one_event_that_names_many_requests_makes_a_snapshot_due() -> None:
    assert not cost_of(purge(REQUESTS_PER_SNAPSHOT - 1)).is_due(size=8)
    assert cost_of(purge(REQUESTS_PER_SNAPSHOT)).is_due(size=8)


def test_each_mention_of_a_request_counts() -> None:
    half = REQUESTS_PER_SNAPSHOT // 2
    published = GenerationPublished(
        at=NOW, number=2, manifest_sha256="", rewound=names(half), repaired=(), settled=names(half)
    )
    assert cost_of(published).is_due(size=8)


def test_a_snapshot_that_is_larger_than_the_events_waits() -> None:
    """Otherwise each of many open requests would be written anew at every few events."""
    cost = cost_of(purge(REQUESTS_PER_SNAPSHOT))
    assert not cost.is_due(size=REQUESTS_PER_SNAPSHOT + 2)
    assert cost.is_due(size=REQUESTS_PER_SNAPSHOT + 1)
