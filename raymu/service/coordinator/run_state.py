"""The state of a run as a coordinator reads it, once: before it takes the run over if that can be avoided."""

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime

from raymu.errors import FileCorrupt, FileMissing
from raymu.service.history import History, replay
from raymu.service.requests.admission import Admission
from raymu.service.requests.revocation import Revocation
from raymu.service.requests.sample_index import LazySampleIndex
from raymu.store.journal.event_chain import ChainHead
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore


@dataclass(frozen=True, slots=True, eq=False)
class RunState:
    """A replay of the journal, and the samples of the tables that it ends with."""

    head: ChainHead
    """The last event of the replay."""
    history: History
    samples: LazySampleIndex


def read_state(store: RunStore, journal: Journal, *, workers: int) -> RunState:
    """Replay the journal for a coordinator with this many workers. Raises FileCorrupt, RunFormatTooNew."""
    head, history = journal.head(), replay(journal, store.manifest, workers=workers)
    return RunState(head, history, LazySampleIndex(store, lambda: history.board.tables))


def check_requests(
    store: RunStore, revocations: Sequence[Revocation], *, workers: int, now: datetime
) -> RunState | None:
    """Refuse requests before the run is taken over, perhaps from a coordinator that is at work.

    Returns:
        The state that the requests were checked against; None if files are damaged, which a coordinator repairs.

    Raises:
        RaymuError: RequestInvalid, UnknownSamples, UnknownOwner, SamplesRevoked or IdempotencyConflict.
    """
    with closing(store.journal(is_read_only=True)) as journal, suppress(FileMissing, FileCorrupt):
        state = read_state(store, journal, workers=workers)
        Admission(store, journal, state.history, state.samples).admit_together(revocations, now=now)
        return state
    return None
