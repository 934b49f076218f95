"""What the journal keeps beside its events to be read quickly: the index of requests, and a snapshot of the state."""

from collections.abc import Iterator
from dataclasses import replace

from raymu.core.events import RevocationsAccepted
from raymu.core.findings import FindingKind
from raymu.core.verdict import Finding, fails
from raymu.service.history import Replay
from raymu.service.snapshot import RunSnapshot, read_snapshot
from raymu.service.verify.evidence import Recorded
from raymu.store.run import RunStore


def index_findings(recorded: Recorded) -> Iterator[Finding]:
    """Compare the index of requests with the events. It may end before the last of them, as an earlier version left it."""
    if recorded.request_index is None:
        return
    expected = {
        request.request_id: (sequence, request.key)
        for sequence, event in enumerate(recorded.events, start=1)
        if isinstance(event, RevocationsAccepted)
        for request in event.requests
    }
    last = max((sequence for sequence, _ in recorded.request_index.values()), default=0)
    if recorded.request_index != {name: place for name, place in expected.items() if place[0] <= last}:
        yield fails(FindingKind.JOURNAL, "the index of requests differs from the accepted requests")


def snapshot_findings(store: RunStore, recorded: Recorded) -> Iterator[Finding]:
    """Compare the snapshot with a replay of the events that it follows."""
    if not recorded.has_snapshot:
        return
    if recorded.snapshot is None:
        yield fails(FindingKind.SNAPSHOT, "the snapshot of the state is not what was written")
        return
    head, payload = recorded.snapshot
    snapshot = read_snapshot(payload)
    if snapshot is not None and _comparable(snapshot) != _comparable(
        _replayed(store, recorded, snapshot, head.sequence)
    ):
        yield fails(FindingKind.SNAPSHOT, "the snapshot of the state differs from the one that follows from the events")


def _replayed(store: RunStore, recorded: Recorded, snapshot: RunSnapshot, sequence: int) -> RunSnapshot:
    """Return the snapshot that follows from the events up to one of them."""
    whole = Replay(store.manifest, workers=snapshot.workers, began_with=snapshot.began_with)
    for number, event in enumerate(recorded.events[:sequence], start=1):
        whole.handle(number, event)
    history = whole.history()
    issued = len(history.issued)
    last = recorded.receipt_rows[issued - 1] if 0 < issued <= len(recorded.receipt_rows) else None
    return history.snapshot(last)


def _comparable(snapshot: RunSnapshot) -> RunSnapshot:
    """Leave out what depends on who replays: the decisions of repairs that run, by coordinators with other workers."""
    shards = tuple(
        replace(work, repair=replace(work.repair, decision=None)) if work.repair else work  # type: ignore[arg-type]
        for work in snapshot.board.shards
    )
    return replace(snapshot, workers=1, board=replace(snapshot.board, shards=shards))
