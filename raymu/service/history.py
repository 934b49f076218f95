"""A run's history, replayed from its journal."""

from dataclasses import dataclass

from raymu.config import Config, UnlearningConfig
from raymu.core.board.board import RevocationBoard
from raymu.core.events import (
    GenerationEvaluated,
    GenerationPublished,
    RevocationsAccepted,
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
    board = RevocationBoard.replayed(events, shape, workers=workers or trained_on, tables=manifest.tables)
    receipts = Receipts()
    accepted: dict[str, RevocationRequest] = {}
    by_key: dict[str, RevocationRequest] = {}
    for event in events:
        receipts.handle(event)
        if isinstance(event, RevocationsAccepted):
            accepted.update({request.request_id: request for request in event.requests})
            by_key.update({request.key: request for request in event.requests if request.key})
    return History(
        epochs=shape.epochs,
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
    )


def require_kept_pseudonyms(store: RunStore, journal: Journal, history: History) -> None:
    """Raise FileCorrupt if the journal does not keep the ids that were accepted: other samples would be forgotten."""
    kept = kept_pseudonyms(journal, key=store.keys.hash_key)
    purged = {receipt.request_id for receipt in history.receipts.receipts() if receipt.purged_at}
    for problem in pseudonym_mismatches(kept, journal.revoked(), history.accepted, purged=purged):
        raise FileCorrupt("the journal", problem)
