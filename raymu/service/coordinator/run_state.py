"""The state of a run as a coordinator reads it, once: before it takes the run over if that can be avoided."""

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime

from raymu.errors import FileCorrupt, FileMissing
from raymu.service.history import History, open_history, require_untampered
from raymu.service.requests.admission import Admission
from raymu.service.requests.revocation import Revocation
from raymu.service.requests.sample_index import SampleIndex
from raymu.store.journal.event_chain import ChainHead
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.run import RunStore

MAX_ATTEMPTS = 3
"""Attempts to read a journal that another coordinator extends meanwhile."""


@dataclass(frozen=True, slots=True, eq=False)
class RunState:
    """A replay of the journal, and the samples of the tables that it ends with."""

    head: ChainHead
    """The last event of the replay."""
    history: History
    samples: SampleIndex


def read_state(store: RunStore, journal: JournalReader, *, workers: int) -> RunState:
    """Read the state for a coordinator with this many workers, and check what the journal stores beside the events.

    Raises FileCorrupt, RunFormatTooNew.
    """
    head, history = journal.head(), open_history(store, journal, workers=workers)
    require_untampered(store, journal, history)
    board = history.board
    return RunState(head, history, SampleIndex(store, board.samples_of, added_routes=lambda: board.added_routes))


def read_before_takeover(store: RunStore, *, workers: int) -> RunState | None:
    """Read and check a run, perhaps beside a coordinator that is at work, and write nothing.

    Returns:
        The state; None if another coordinator extended the journal during each attempt to read it.

    Raises:
        FileCorrupt: The journal was changed by anyone but a coordinator.
        RunFormatTooNew: A newer raymu wrote it.
    """
    for _attempt in range(MAX_ATTEMPTS):
        with closing(store.journal(is_read_only=True)) as journal:
            before = journal.position()
            try:
                store.require_closed_as_found(journal)
                return read_state(store, journal, workers=workers)
            except (FileCorrupt, FileMissing):
                if journal.position() == before:
                    raise
    return None


def check_requests(
    store: RunStore, revocations: Sequence[Revocation], *, workers: int, now: datetime
) -> RunState | None:
    """Refuse requests before the run is taken over, perhaps from a coordinator that is at work.

    Returns:
        The state that the requests were checked against; None if files are damaged, which a coordinator repairs.

    Raises:
        RaymuError: RequestInvalid, UnknownSamples, UnknownOwner, SamplesRevoked or IdempotencyConflict, or what
            `read_before_takeover` raises.
    """
    state = read_before_takeover(store, workers=workers)
    if state is None:
        return None
    with closing(store.journal(is_read_only=True)) as journal, suppress(FileMissing, FileCorrupt):
        Admission(store, journal, state.history, state.samples).admit_together(revocations, now=now)
        return state
    return None
