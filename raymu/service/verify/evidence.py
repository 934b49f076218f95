"""The evidence of a verification: what the journal records, and what must follow from it."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from raymu.core.board.board import RevocationBoard
from raymu.core.commands import PublishGeneration
from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted, RunTrained, ShardRepaired
from raymu.core.receipt import Receipt
from raymu.core.receipts import Receipts
from raymu.core.records import FileRef, Generation
from raymu.core.requests import RevocationRequest
from raymu.core.run_shape import RunShape
from raymu.service.pseudonyms import KeptPseudonym, kept_pseudonyms, revoked_by
from raymu.store.journal.event_chain import BEGINNING, ChainHead
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.receipts import ReceiptRow
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """The content of the journal's database."""

    schema_differences: tuple[str, ...]
    """Everything in the database that raymu did not create as it is."""
    term: int
    heads: tuple[ChainHead, ...]
    """Sequence and seal of each event."""
    events: tuple[Event, ...]
    receipt_rows: tuple[ReceiptRow, ...]
    revoked: dict[str, str]
    """pseudonym -> request"""
    kept: KeptPseudonym
    request_index: dict[str, tuple[int, str | None]] | None
    """request -> number of the event that accepted it, and its key; None in a journal of version 0.2"""
    snapshot: tuple[ChainHead, str] | None
    """The newest snapshot, with the event that it follows; None without a sound one."""
    has_snapshot: bool
    """Whether there is one, sound or not."""

    @property
    def head(self) -> ChainHead:
        """The last event's sequence and seal."""
        return self.heads[-1] if self.heads else BEGINNING

    @classmethod
    def read(cls, store: RunStore) -> "Recorded":
        """Read the journal of a run. Raises FileCorrupt, StorageFailed, RunInvalid."""
        with closing(store.journal(is_read_only=True)) as journal:
            return cls.of(store, journal)

    @classmethod
    def of(cls, store: RunStore, journal: JournalReader) -> "Recorded":
        """Read an open journal. Raises FileCorrupt, StorageFailed, RunInvalid."""
        sealed = list(journal.sealed_events())
        return cls(
            schema_differences=tuple(journal.schema_differences()),
            term=journal.term(),
            heads=tuple(head for head, _ in sealed),
            events=tuple(event for _, event in sealed),
            receipt_rows=tuple(journal.receipt_rows()),
            revoked=journal.revoked(),
            kept=kept_pseudonyms(journal, key=store.keys.hash_key),
            request_index=journal.request_index(),
            snapshot=journal.snapshot(),
            has_snapshot=journal.has_snapshot(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """The state that must follow from the events."""

    board: RevocationBoard
    """The state machine after all events."""
    generations: tuple[GenerationPublished, ...]
    publication: PublishGeneration | None
    """The command that the last published generation carries out."""
    receipts: tuple[tuple[int, Receipt], ...]
    """Number of the journal event and the receipt, in the order of issue."""
    accepted: dict[str, RevocationRequest]
    """Every request by its id."""
    purged: frozenset[str]
    """Ids of the purged requests."""
    superseded: frozenset[FileRef]
    """Every file that was destroyed."""
    descents: dict[str, set[str]]
    """SHA-256 of each checkpoint file -> every descent that was reported for it."""
    unpublished: dict[int, set[str]]
    """shard -> requests that it is repaired for since the last publication"""

    @property
    def published(self) -> GenerationPublished | None:
        """The served generation; None before the first."""
        return self.generations[-1] if self.generations else None

    @property
    def revoked(self) -> dict[str, str]:
        """The requests by pseudonym."""
        return revoked_by(self.accepted)

    @property
    def awaited(self) -> set[str]:
        """Ids of the running commands, whose reports can exist."""
        return {command.command_id for command in self.board.awaited}

    @property
    def is_unfinished(self) -> bool:
        """True while anything is left to do, other than settling patched shards."""
        return self.published is None or not self.board.is_idle

    def waiting(self, shard: int) -> set[str]:
        """Return the requests that a shard of the published generation is not repaired for yet."""
        return {*self.board.pending_requests(shard), *self.unpublished.get(shard, ())}

    @classmethod
    def of(cls, store: RunStore, events: tuple[Event, ...]) -> "Expected":
        """Replay the events as a coordinator does."""
        config, projection = store.config, Receipts()
        manifest = store.manifest
        board = RevocationBoard.replayed(
            events, RunShape.of(config), workers=1, tables=manifest.tables, indexes=manifest.indexes
        )
        receipts: list[tuple[int, Receipt]] = []
        unpublished: dict[int, set[str]] = {}
        for sequence, event in enumerate(events, start=1):
            if isinstance(event, GenerationPublished):
                unpublished.clear()
            if isinstance(event, RequestsPurged):
                receipts.extend((sequence, receipt) for receipt in projection.completed_by(event))
            if isinstance(event, ShardRepaired):
                unpublished.setdefault(event.report.shard, set()).update(event.report.request_ids)
            projection.handle(event)
        accepted = [event for event in events if isinstance(event, RevocationsAccepted)]
        purged = [event for event in events if isinstance(event, RequestsPurged)]
        return cls(
            board=board,
            generations=tuple(event for event in events if isinstance(event, GenerationPublished)),
            publication=board.published_command,
            receipts=tuple(receipts),
            accepted={request.request_id: request for event in accepted for request in event.requests},
            purged=frozenset(request_id for event in purged for request_id in event.request_ids),
            superseded=frozenset(file for event in purged for file in event.files),
            descents=_descents(events),
            unpublished=unpublished,
        )


def _descents(events: Iterable[Event]) -> dict[str, set[str]]:
    descents: dict[str, set[str]] = {}
    trained = [lineage for event in events if isinstance(event, RunTrained) for lineage in event.lineages]
    repaired = [event.report.lineage for event in events if isinstance(event, ShardRepaired)]
    for lineage in (*trained, *repaired):
        for checkpoint in filter(None, lineage.checkpoints):
            descents.setdefault(checkpoint.file.sha256, set()).add(checkpoint.descent)
    return descents


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that the checks look at."""

    store: RunStore
    recorded: Recorded
    expected: Expected
    generation: Generation | None
    """The served generation, sound or not; None if it cannot be read."""
    own_term: int | None = None
    """The term of a coordinator that the caller has open; None without one."""
