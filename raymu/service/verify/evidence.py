"""What a verification looks at: the journal, and what must follow from it."""

from contextlib import closing
from dataclasses import dataclass

from raymu.core.board import RevocationBoard
from raymu.core.events import (
    Event,
    GenerationPublished,
    PublishGeneration,
    RequestsPurged,
    RevocationsAccepted,
    ShardRepaired,
)
from raymu.core.receipt import Receipt, ReceiptBook
from raymu.core.records import FileRef
from raymu.core.schedule import slice_epochs
from raymu.store.chain import BEGINNING, Head
from raymu.store.journal import Journal
from raymu.store.ledger import LedgerRow
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What the journal's database holds.

    heads: of the events, each with its seal; revoked: keyed hash -> request; unpurged: requests whose raw ids are kept
    """

    epoch: int
    heads: tuple[Head, ...]
    events: tuple[Event, ...]
    ledger: tuple[LedgerRow, ...]
    revoked: dict[str, str]
    unpurged: frozenset[str]

    @property
    def head(self) -> Head:
        return self.heads[-1] if self.heads else BEGINNING

    @classmethod
    def read(cls, store: RunStore) -> "Recorded":
        """Raises FileCorrupt, StorageFailed, RunInvalid."""
        with closing(store.journal(is_read_only=True)) as journal:
            return cls.of(journal)

    @classmethod
    def of(cls, journal: Journal) -> "Recorded":
        sealed = list(journal.sealed_events())
        return cls(
            epoch=journal.epoch(),
            heads=tuple(head for head, _ in sealed),
            events=tuple(event for _, event in sealed),
            ledger=tuple(journal.ledger()),
            revoked=journal.revoked(),
            unpurged=frozenset(journal.unpurged()),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What must follow from the events.

    receipts: (journal event, receipt) in the order of issue; revoked: keyed hash -> request
    unpublished: shard -> requests that it is past, and the published generation is not
    """

    board: RevocationBoard
    published: GenerationPublished | None
    previous_sha256: str
    publication: PublishGeneration | None
    receipts: tuple[tuple[int, Receipt], ...]
    revoked: dict[str, str]
    purged: frozenset[str]
    superseded: frozenset[FileRef]
    unpublished: dict[int, set[str]]

    def waiting(self, shard: int) -> set[str]:
        """The requests that a shard of the published generation is not past yet."""
        return {*self.board.pending(shard), *self.unpublished.get(shard, ())}

    @classmethod
    def of(cls, store: RunStore, events: tuple[Event, ...]) -> "Expected":
        """Replay the events as a coordinator does."""
        config, book = store.config, ReceiptBook()
        epochs = slice_epochs(config.training.epochs, config.partition.slices)
        board = RevocationBoard(config=config.unlearning, epochs=epochs, workers=1)
        published: list[GenerationPublished] = []
        asked: PublishGeneration | None = None
        publication: PublishGeneration | None = None
        receipts: list[tuple[int, Receipt]] = []
        revoked: dict[str, str] = {}
        purged: set[str] = set()
        superseded: set[FileRef] = set()
        unpublished: dict[int, set[str]] = {}
        for sequence, event in enumerate(events, start=1):
            match event:
                case GenerationPublished():
                    published.append(event)
                    publication = asked
                    unpublished.clear()
                case ShardRepaired(report=report):
                    unpublished.setdefault(report.shard, set()).update(report.request_ids)
                case RevocationsAccepted(requests=requests):
                    revoked |= {one: request.request_id for request in requests for one in request.hashes}
                case RequestsPurged(request_ids=request_ids, files=files):
                    receipts.extend((sequence, receipt) for receipt in book.issued_by(event))
                    purged.update(request_ids)
                    superseded.update(files)
                case _:
                    pass
            book.handle(event)
            asked = next((one for one in board.handle(event) if isinstance(one, PublishGeneration)), asked)
        return cls(
            board=board,
            published=published[-1] if published else None,
            previous_sha256=published[-2].manifest_sha256 if len(published) > 1 else "",
            publication=publication,
            receipts=tuple(receipts),
            revoked=revoked,
            purged=frozenset(purged),
            superseded=frozenset(superseded),
            unpublished=unpublished,
        )
