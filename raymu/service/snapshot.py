"""Snapshots: the state of a run that follows from the events up to one of them, as the journal keeps it."""

from dataclasses import dataclass

from raymu.config import UnlearningConfig
from raymu.core.board.state import BoardState
from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted, ShardRepaired
from raymu.core.receipts import ReceiptsState
from raymu.errors import FileCorrupt
from raymu.store.codec import from_json, to_json
from raymu.store.receipts import LastReceipt

FORMAT = 1
"""Number of the format. A snapshot of another one is left aside, and all events are read."""
EVENTS_PER_SNAPSHOT = 256
"""Events after which the state is saved again."""
REQUESTS_PER_SNAPSHOT = 4096
"""Mentions of requests after which it is, however few events they are in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSnapshot:
    """The state of a run after an event. It names no sample, and grows with shards and open requests alone."""

    format: int
    board: BoardState
    receipts: ReceiptsState
    trained_on: int
    """Workers that trained the run."""
    configured: UnlearningConfig | None
    """The settings that were chosen last; None if they were never changed."""
    published: GenerationPublished | None
    """The last generation."""
    measured: int
    """Number of the last generation whose accuracy is known; 0 before the first."""
    conversions: tuple[str, ...]
    """What was converted when the tables of later samples were read."""
    last_receipt: LastReceipt | None
    """The last issued receipt."""
    began_with: UnlearningConfig
    """The settings that the replay of the very first event began with."""
    workers: int
    """Shards that were repaired side by side, which decisions of running repairs depend on."""


def to_payload(snapshot: RunSnapshot) -> str:
    """Return a snapshot as canonical JSON."""
    return to_json(snapshot).decode()


def read_snapshot(payload: str) -> RunSnapshot | None:
    """Read a snapshot whose seal is valid. Returns None if it is of another format."""
    try:
        snapshot: RunSnapshot = from_json(RunSnapshot, payload, source="the journal's snapshot")
    except FileCorrupt:
        return None
    return snapshot if snapshot.format == FORMAT else None


@dataclass(kw_only=True, slots=True)
class ReplayCost:
    """What it takes to replay some events."""

    events: int = 0
    requests: int = 0
    """How often they name a request. One event may name thousands."""

    def add(self, event: Event) -> None:
        """Count an event."""
        self.events += 1
        match event:
            case RevocationsAccepted(requests=requests):
                self.requests += len(requests)
            case RequestsPurged(request_ids=request_ids):
                self.requests += len(request_ids)
            case ShardRepaired(report=report):
                self.requests += len(report.request_ids)
            case GenerationPublished():
                self.requests += len(event.rewound) + len(event.repaired) + len(event.settled)
            case _:
                pass

    def is_due(self, *, size: int) -> bool:
        """Return whether to save a snapshot after these events, rather than to replay them again.

        Args:
            size: Shards and open requests of the run. A snapshot grows with them, and so does the pause until the next.
        """
        is_long = self.events >= EVENTS_PER_SNAPSHOT or self.requests >= REQUESTS_PER_SNAPSHOT
        return is_long and self.events + self.requests >= size
