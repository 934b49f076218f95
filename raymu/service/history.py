"""A run's past, replayed from its journal."""

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
from raymu.core.forecast_error import ForecastErrors
from raymu.core.receipt import Receipts
from raymu.core.records import FileRef
from raymu.core.requests import RevocationRequest
from raymu.core.run_shape import RunShape
from raymu.errors import FileCorrupt
from raymu.service.pseudonyms import kept_pseudonyms, pseudonym_mismatches
from raymu.store.journal.journal import Journal
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """epochs: of each stage; trained_on: how many workers trained the run, 1 before it is trained"""

    epochs: tuple[int, ...]
    board: RevocationBoard
    receipts: Receipts
    accepted: dict[str, RevocationRequest]
    """By the request's id."""
    requests_by_key: dict[str, RevocationRequest]
    trained_on: int
    forecast_errors: ForecastErrors
    configured: UnlearningConfig | None
    """The settings that were chosen last; None where those of the manifest were never changed."""
    published: GenerationPublished | None
    """The last one; None before the first."""
    evaluations: tuple[GenerationEvaluated, ...]

    def tables(self, manifest: RunManifest) -> tuple[FileRef, ...]:
        """Where the samples of each shard lie now."""
        return tuple(lineage.table for lineage in self.board.lineages) or manifest.tables


def replay(journal: Journal, manifest: RunManifest, *, workers: int | None = None) -> History:
    """Rebuild the state. workers: at hand; as many as trained the run where not given"""
    config = Config.parse(manifest.config)
    events = list(journal.events())
    trained_on = next((event.workers for event in events if isinstance(event, RunTrained)), 1)
    shape = RunShape.of(config, has_batch_norm=manifest.has_batch_norm)
    board = RevocationBoard.replayed(events, shape, workers=workers or trained_on)
    receipts, forecast_errors = Receipts(), ForecastErrors()
    accepted: dict[str, RevocationRequest] = {}
    by_key: dict[str, RevocationRequest] = {}
    for event in events:
        receipts.handle(event)
        forecast_errors.handle(event)
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
        forecast_errors=forecast_errors,
        configured=next((one.unlearning for one in reversed(events) if isinstance(one, UnlearningConfigured)), None),
        published=next((event for event in reversed(events) if isinstance(event, GenerationPublished)), None),
        evaluations=tuple(event for event in events if isinstance(event, GenerationEvaluated)),
    )


def require_named(store: RunStore, journal: Journal, history: History) -> None:
    """Raises FileCorrupt where the journal no longer keeps what the accepted requests name: others would be forgotten."""
    kept = kept_pseudonyms(journal, key=store.keys.hash_key)
    purged = {receipt.request_id for receipt in history.receipts.receipts() if receipt.purged_at}
    for what in pseudonym_mismatches(kept, journal.revoked(), history.accepted, purged=purged):
        raise FileCorrupt("the journal", what)
