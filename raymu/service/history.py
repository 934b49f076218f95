"""A run's history, replayed from its journal."""

from dataclasses import dataclass

from raymu.config import Config, UnlearningConfig
from raymu.core.board.board import RevocationBoard
from raymu.core.events import (
    GenerationEvaluated,
    GenerationPublished,
    RequestsPurged,
    RevocationsAccepted,
    RunExtended,
    RunTrained,
    UnlearningConfigured,
)
from raymu.core.receipt import Receipts
from raymu.core.requests import RevocationRequest
from raymu.core.run_shape import RunShape
from raymu.errors import FileCorrupt
from raymu.service.pseudonyms import kept_pseudonyms, pseudonym_mismatches
from raymu.store.journal.journal import Journal
from raymu.store.manifest import RunManifest
from raymu.store.receipts import check_chain
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The state that follows from all events of a journal."""

    epochs: tuple[int, ...]
    """Epochs of each stage."""
    board: RevocationBoard
    receipts: Receipts
    accepted: dict[str, RevocationRequest]
    """All accepted requests by their ids."""
    requests_by_key: dict[str, RevocationRequest]
    """The accepted requests that have an idempotency key, by its pseudonym."""
    trained_on: int
    """Workers that trained the run; 1 before it is trained."""
    configured: UnlearningConfig | None
    """The settings that were chosen last; None if they were never changed."""
    published: GenerationPublished | None
    """The last generation; None before the first."""
    evaluations: tuple[GenerationEvaluated, ...]
    conversions: tuple[str, ...]
    """What was converted when the tables of later samples were read."""
    issued: tuple[tuple[int, str], ...]
    """For each issued receipt, in order: the number of the event that completed it, and its request."""


def replay(journal: Journal, manifest: RunManifest, *, workers: int | None = None) -> History:
    """Rebuild the state from a journal.

    Args:
        journal: The run's journal.
        manifest: The run's manifest.
        workers: Shards that are repaired side by side. The default is as many as trained the run.
    """
    config = Config.parse(manifest.config)
    events = list(journal.events())
    trained_on = next((event.workers for event in events if isinstance(event, RunTrained)), 1)
    shape = RunShape.of(config, has_batch_norm=manifest.has_batch_norm)
    board = RevocationBoard.replayed(
        events, shape, workers=workers or trained_on, tables=manifest.tables, indexes=manifest.indexes
    )
    receipts = Receipts()
    accepted: dict[str, RevocationRequest] = {}
    by_key: dict[str, RevocationRequest] = {}
    issued: list[tuple[int, str]] = []
    for sequence, event in enumerate(events, start=1):
        if isinstance(event, RequestsPurged):
            issued.extend((sequence, receipt.request_id) for receipt in receipts.completed_by(event))
        receipts.handle(event)
        if isinstance(event, RevocationsAccepted):
            accepted.update({request.request_id: request for request in event.requests})
            by_key.update({request.key: request for request in event.requests if request.key})
    return History(
        epochs=board.epochs,
        board=board,
        receipts=receipts,
        accepted=accepted,
        requests_by_key=by_key,
        trained_on=trained_on,
        configured=next(
            (event.unlearning for event in reversed(events) if isinstance(event, UnlearningConfigured)), None
        ),
        published=next((event for event in reversed(events) if isinstance(event, GenerationPublished)), None),
        evaluations=tuple(event for event in events if isinstance(event, GenerationEvaluated)),
        conversions=tuple(line for event in events if isinstance(event, RunExtended) for line in event.conversions),
        issued=tuple(issued),
    )


def require_untampered(store: RunStore, journal: Journal, history: History) -> None:
    """Check what the journal stores beside its events, before anyone extends it or forgets samples by it.

    Raises:
        FileCorrupt: The ids that the journal keeps are not those that were accepted, or the issued receipts are not those
            that follow from the events.
    """
    kept = kept_pseudonyms(journal, key=store.keys.hash_key)
    purged = {receipt.request_id for receipt in history.receipts.receipts() if receipt.purged_at}
    for problem in pseudonym_mismatches(kept, journal.revoked(), history.accepted, purged=purged):
        raise FileCorrupt("the journal", problem)
    store.require_bound_key()
    rows = journal.receipt_rows()
    if check_chain(rows, run=store.manifest.run_id, public_key=store.keys.public_key) != list(history.issued):
        raise FileCorrupt("the journal", "the issued receipts differ from those that follow from its events")
