"""A run's history: replayed from its journal, or from a snapshot and the events after it."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from dataclasses import replace as dataclass_replace

from raymu.config import Config, UnlearningConfig
from raymu.core.board.board import RevocationBoard
from raymu.core.events import (
    Event,
    GenerationEvaluated,
    GenerationPublished,
    RequestsPurged,
    RevocationsAccepted,
    RunExtended,
    RunTrained,
    UnlearningConfigured,
)
from raymu.core.receipts import Receipts
from raymu.core.requests import RevocationRequest
from raymu.core.run_shape import RunShape
from raymu.errors import FileCorrupt
from raymu.service.issued_receipts import JournalReceipts
from raymu.service.pseudonyms import kept_pseudonyms, pseudonym_mismatches, revoked_by
from raymu.service.snapshot import FORMAT, ReplayCost, RunSnapshot, read_snapshot
from raymu.store.journal.event_chain import BEGINNING, ChainHead
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.manifest import RunManifest
from raymu.store.receipts import LastReceipt, ReceiptRow, check_chain
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The state that follows from all events of a journal.

    After `replay` it has every request. After `open_history` it has those that are not done: the rest is looked up.
    """

    epochs: tuple[int, ...]
    """Epochs of each stage."""
    board: RevocationBoard
    receipts: Receipts
    trained_on: int
    """Workers that trained the run; 1 before it is trained."""
    configured: UnlearningConfig | None
    """The settings that were chosen last; None if they were never changed."""
    published: GenerationPublished | None
    """The last generation; None before the first."""
    measured: int
    """Number of the last generation whose accuracy is known; 0 before the first."""
    conversions: tuple[str, ...]
    """What was converted when the tables of later samples were read."""
    accepted: dict[str, RevocationRequest]
    """The requests that the events which were read accept, by their ids."""
    requests_by_key: dict[str, RevocationRequest]
    """Those of them that have an idempotency key, by its pseudonym."""
    evaluations: tuple[GenerationEvaluated, ...]
    """Those among the events that were read."""
    issued: tuple[tuple[int, str], ...]
    """For each receipt that the events which were read issue, in order: the number of its event, and its request."""
    after: RunSnapshot | None
    """The snapshot that the events were read after; None if they were read from the first one on."""
    cost: ReplayCost
    """What it took to replay the events that were read."""
    began_with: UnlearningConfig
    """The settings that the replay of the very first event began with."""
    workers: int
    """Shards that are repaired side by side, which decisions depend on."""

    @property
    def needs_snapshot(self) -> bool:
        """Whether to save this state, so that the events which were read need not be read again."""
        return self.cost.is_due(size=snapshot_size(self.board, self.receipts))

    def snapshot(self, last_receipt: ReceiptRow | None) -> RunSnapshot:
        """Return the state to save. last_receipt: the last receipt that was issued; None without one"""
        return RunSnapshot(
            format=FORMAT,
            board=self.board.state(),
            receipts=self.receipts.state(),
            trained_on=self.trained_on,
            configured=self.configured,
            published=self.published,
            measured=self.measured,
            conversions=self.conversions,
            last_receipt=LastReceipt.of(last_receipt),
            began_with=self.began_with,
            workers=self.workers,
        )


class Replay:
    """Rebuilds the state of a run from its events, one after another."""

    def __init__(
        self, manifest: RunManifest, *, workers: int | None, began_with: UnlearningConfig | None = None
    ) -> None:
        """Begin before the first event.

        Args:
            manifest: The run's manifest.
            workers: Shards that are repaired side by side. The default is as many as trained the run.
            began_with: Settings of unlearning until an event changes them. The default is the manifest's.
        """
        config = Config.parse(manifest.config)
        self._manifest, self._workers = manifest, workers
        self._began_with = began_with or config.unlearning
        shape = RunShape.of(config, has_batch_norm=manifest.has_batch_norm)
        shape = dataclass_replace(shape, unlearning=self._began_with)
        self._board = RevocationBoard(shape, workers=workers or 1, tables=manifest.tables, indexes=manifest.indexes)
        self._receipts = Receipts()
        self._trained_on = 1
        self._configured: UnlearningConfig | None = None
        self._published: GenerationPublished | None = None
        self._measured = 0
        self._conversions: list[str] = []
        self._accepted: dict[str, RevocationRequest] = {}
        self._evaluations: list[GenerationEvaluated] = []
        self._issued: list[tuple[int, str]] = []
        self._after: RunSnapshot | None = None
        self._cost = ReplayCost()

    @classmethod
    def after(
        cls, snapshot: RunSnapshot, manifest: RunManifest, issued: JournalReceipts, *, workers: int | None
    ) -> "Replay":
        """Begin after the event that a snapshot follows.

        Args:
            snapshot: The snapshot.
            manifest: The run's manifest.
            issued: Where receipts of requests that are done are looked up.
            workers: Shards that are repaired side by side. The default is as many as trained the run.
        """
        replay = cls(manifest, workers=workers, began_with=snapshot.began_with)
        replay._board = RevocationBoard.restored(
            snapshot.board, workers=workers or snapshot.trained_on, tables=manifest.tables, indexes=manifest.indexes
        )
        replay._receipts = Receipts.restored(snapshot.receipts, replay._board.unpurged, issued)
        replay._trained_on, replay._configured = snapshot.trained_on, snapshot.configured
        replay._published, replay._measured = snapshot.published, snapshot.measured
        replay._conversions, replay._after = [*snapshot.conversions], snapshot
        return replay

    @property
    def events(self) -> int:
        """Number of the events that were applied."""
        return self._cost.events

    @property
    def is_long(self) -> bool:
        """Whether a snapshot is due after the events that were applied."""
        return self._cost.is_due(size=snapshot_size(self._board, self._receipts))

    def handle(self, sequence: int, event: Event) -> None:
        """Apply an event. sequence: its number"""
        self._cost.add(event)
        match event:
            case RunTrained(workers=workers):
                self._trained_on = workers
                if self._workers is None:
                    state, manifest = self._board.state(), self._manifest
                    self._board = RevocationBoard.restored(
                        state, workers=workers, tables=manifest.tables, indexes=manifest.indexes
                    )
            case UnlearningConfigured(unlearning=unlearning):
                self._configured = unlearning
            case GenerationPublished():
                self._published = event
            case GenerationEvaluated(number=number):
                self._measured = number
                self._evaluations.append(event)
            case RunExtended(conversions=conversions):
                self._conversions.extend(conversions)
            case RevocationsAccepted(requests=requests):
                self._accepted.update({request.request_id: request for request in requests})
            case RequestsPurged():
                self._issued.extend((sequence, receipt.request_id) for receipt in self._receipts.completed_by(event))
            case _:
                pass
        if isinstance(self._receipts.issued, JournalReceipts):
            self._receipts.issued.until = sequence
        self._board.handle(event)
        self._receipts.handle(event)

    def history(self) -> History:
        """Return the state after the events so far."""
        if isinstance(self._receipts.issued, JournalReceipts):
            self._receipts.issued.until = None
        return History(
            epochs=self._board.epochs,
            board=self._board,
            receipts=self._receipts,
            trained_on=self._trained_on,
            configured=self._configured,
            published=self._published,
            measured=self._measured,
            conversions=tuple(self._conversions),
            accepted=self._accepted,
            requests_by_key={request.key: request for request in self._accepted.values() if request.key},
            evaluations=tuple(self._evaluations),
            issued=tuple(self._issued),
            after=self._after,
            cost=copy(self._cost),
            began_with=self._began_with,
            workers=self._workers or self._trained_on,
        )


def snapshot_size(board: RevocationBoard, receipts: Receipts) -> int:
    """Return what a snapshot grows with: the number of shards and of requests that are not done."""
    return len(board.lineages) + receipts.open_count


def replay(journal: JournalReader, manifest: RunManifest, *, workers: int | None = None) -> History:
    """Rebuild the state from all events of a journal, with every request.

    Args:
        journal: The run's journal.
        manifest: The run's manifest.
        workers: Shards that are repaired side by side. The default is as many as trained the run.

    Raises:
        FileCorrupt: The journal is not what was written.
        RunFormatTooNew: A newer raymu wrote it.
    """
    return replay_events(journal.events(), manifest, workers=workers)


def replay_events(events: Iterable[Event], manifest: RunManifest, *, workers: int | None = None) -> History:
    """Rebuild the state from all events of a journal, in order. The other arguments and the result are those of `replay`."""
    whole = Replay(manifest, workers=workers)
    for sequence, event in enumerate(events, start=1):
        whole.handle(sequence, event)
    return whole.history()


def open_history(store: RunStore, journal: JournalReader, *, workers: int | None = None) -> History:
    """Rebuild the state from the newest snapshot and the events after it. Without a sound snapshot all events are read.

    Requests that are done are looked up in the journal when they are needed. Arguments and errors are those of `replay`.
    """
    history = open_replay(store, journal, workers=workers)[0].history()
    if history.after is not None:
        return history
    issued = JournalReceipts(store, journal)
    bounded = Receipts.restored(history.receipts.state(), history.board.unpurged, issued)
    return dataclass_replace(history, receipts=bounded)


def open_replay(store: RunStore, journal: JournalReader, *, workers: int | None = None) -> tuple[Replay, ChainHead]:
    """Do as `open_history`, and return the replay, which can go on with later events, and the last event."""
    replay, head = Replay(store.manifest, workers=workers), BEGINNING
    if (stored := journal.snapshot()) is not None and (snapshot := read_snapshot(stored[1])) is not None:
        replay = Replay.after(snapshot, store.manifest, JournalReceipts(store, journal), workers=workers)
        head = stored[0]
    for last, event in journal.sealed_events(after=head):
        replay.handle(last.sequence, event)
        head = last
    return replay, head


def require_untampered(store: RunStore, journal: JournalReader, history: History) -> None:
    """Check what the journal stores beside the events, before anyone extends it or forgets samples by it.

    After a snapshot, this is what concerns unpurged requests, and the receipts that were issued since.

    Raises:
        FileCorrupt: The ids that the journal keeps are not those that were accepted, or the issued receipts are not those
            that follow from the events.
    """
    if journal.checked_head() is None:
        raise FileCorrupt("the journal", "its last event is not what was written")
    kept, unpurged = kept_pseudonyms(journal, key=store.keys.hash_key), history.board.unpurged
    if history.after is None:
        revoked, accepted = journal.revoked(), history.accepted
    else:
        accepted = unpurged
        named = [each for request in {**unpurged, **history.accepted}.values() for each in request.hashes]
        revoked = journal.revoked_by(named)
        if revoked != revoked_by({**unpurged, **history.accepted}):
            raise FileCorrupt(
                "the journal", "the keyed hashes of revoked samples are not those of the accepted requests"
            )
        revoked = revoked_by(accepted)
    for problem in pseudonym_mismatches(kept, revoked, accepted, purged=accepted.keys() - unpurged.keys()):
        raise FileCorrupt("the journal", problem)
    store.require_bound_key()
    before = history.after.last_receipt if history.after else None
    rows = journal.receipt_rows(first=before.number if before else 1)
    issued = check_chain(rows, run=store.manifest.run_id, public_key=store.keys.public_key, after=before)
    if issued != list(history.issued):
        raise FileCorrupt("the journal", "the issued receipts differ from those that follow from its events")
