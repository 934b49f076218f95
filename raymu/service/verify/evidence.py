"""What a verification looks at: the journal, and what must follow from it."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from raymu.core.board.board import RevocationBoard
from raymu.core.commands import PublishGeneration
from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted, RunTrained, ShardRepaired
from raymu.core.receipt import Receipt, Receipts
from raymu.core.records import FileRef, Generation
from raymu.core.requests import RevocationRequest
from raymu.core.workload import RunShape
from raymu.service.pseudonyms import KeptPseudonym, kept_pseudonyms, revoked_by
from raymu.service.shard.messages import train_id
from raymu.store.journal.event_chain import BEGINNING, ChainHead
from raymu.store.journal.journal import Journal
from raymu.store.receipts import ReceiptRow
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What the journal's database holds.

    heads: of the events, each with its seal; revoked: keyed hash -> request
    """

    term: int
    heads: tuple[ChainHead, ...]
    events: tuple[Event, ...]
    receipt_rows: tuple[ReceiptRow, ...]
    revoked: dict[str, str]
    kept: KeptPseudonym

    @property
    def head(self) -> ChainHead:
        return self.heads[-1] if self.heads else BEGINNING

    @classmethod
    def read(cls, store: RunStore) -> "Recorded":
        """Raises FileCorrupt, StorageFailed, RunInvalid."""
        with closing(store.journal(is_read_only=True)) as journal:
            return cls.of(store, journal)

    @classmethod
    def of(cls, store: RunStore, journal: Journal) -> "Recorded":
        sealed = list(journal.sealed_events())
        return cls(
            term=journal.term(),
            heads=tuple(head for head, _ in sealed),
            events=tuple(event for _, event in sealed),
            receipt_rows=tuple(journal.receipt_rows()),
            revoked=journal.revoked(),
            kept=kept_pseudonyms(journal, key=store.keys.hash_key),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What must follow from the events.

    receipts: (journal event, receipt) in the order of issue; accepted: every request, by its id
    superseded: every file that was destroyed; descents: SHA-256 of each checkpoint that was reported -> what it descends from
    unpublished: shard -> requests that it is past, and the published generation is not
    """

    shards: int
    board: RevocationBoard
    generations: tuple[GenerationPublished, ...]
    publication: PublishGeneration | None
    receipts: tuple[tuple[int, Receipt], ...]
    accepted: dict[str, RevocationRequest]
    purged: frozenset[str]
    superseded: frozenset[FileRef]
    descents: dict[str, set[str]]
    unpublished: dict[int, set[str]]

    @property
    def published(self) -> GenerationPublished | None:
        """The served generation; None before the first."""
        return self.generations[-1] if self.generations else None

    @property
    def revoked(self) -> dict[str, str]:
        """keyed hash -> request"""
        return revoked_by(self.accepted)

    @property
    def awaited(self) -> set[str]:
        """Commands whose reports may be there."""
        training = set() if self.board.lineages else {train_id(shard) for shard in range(self.shards)}
        return training | {command.command_id for command in self.board.running}

    @property
    def is_at_work(self) -> bool:
        """Whether something is left to do, but for settling what was patched."""
        return self.published is None or not self.board.is_idle

    def waiting(self, shard: int) -> set[str]:
        """The requests that a shard of the published generation is not past yet."""
        return {*self.board.pending_requests(shard), *self.unpublished.get(shard, ())}

    @classmethod
    def of(cls, store: RunStore, events: tuple[Event, ...]) -> "Expected":
        """Replay the events as a coordinator does."""
        config, book = store.config, Receipts()
        board = RevocationBoard.replayed(events, RunShape.of(config), workers=1)
        receipts: list[tuple[int, Receipt]] = []
        unpublished: dict[int, set[str]] = {}
        for sequence, event in enumerate(events, start=1):
            if isinstance(event, GenerationPublished):
                unpublished.clear()
            if isinstance(event, RequestsPurged):
                receipts.extend((sequence, receipt) for receipt in book.completed_by(event))
            if isinstance(event, ShardRepaired):
                unpublished.setdefault(event.report.shard, set()).update(event.report.request_ids)
            book.handle(event)
        accepted = [event for event in events if isinstance(event, RevocationsAccepted)]
        purged = [event for event in events if isinstance(event, RequestsPurged)]
        return cls(
            shards=config.partition.shards,
            board=board,
            generations=tuple(event for event in events if isinstance(event, GenerationPublished)),
            publication=board.published,
            receipts=tuple(receipts),
            accepted={request.request_id: request for event in accepted for request in event.requests},
            purged=frozenset(request_id for event in purged for request_id in event.request_ids),
            superseded=frozenset(file for event in purged for file in event.files),
            descents=_descents(events),
            unpublished=unpublished,
        )


def _descents(events: Iterable[Event]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    trained = [lineage for event in events if isinstance(event, RunTrained) for lineage in event.lineages]
    repaired = [event.report.lineage for event in events if isinstance(event, ShardRepaired)]
    for checkpoint in (one for lineage in (*trained, *repaired) for one in lineage.checkpoints if one):
        found.setdefault(checkpoint.file.sha256, set()).add(checkpoint.descent)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    store: RunStore
    recorded: Recorded
    expected: Expected
    generation: Generation | None
    """The served one, whatever checks say of it; None where it cannot be read."""
