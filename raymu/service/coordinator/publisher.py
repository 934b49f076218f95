"""Publishes generations, and purges the files that they supersede."""

from functools import partial

from raymu.core.commands import PublishGeneration, Purge
from raymu.core.events import GenerationPublished, RequestsPurged
from raymu.core.receipt import Receipts
from raymu.core.records import Generation, ShardLineage
from raymu.errors import FileCorrupt, FileMissing
from raymu.service.coordinator.session import Session
from raymu.store.journal.transaction import Transaction
from raymu.store.receipts import sign_receipts


class Publisher:
    """Writes generations, purges and receipts, each together with its event."""

    def __init__(self, session: Session, *, published: GenerationPublished | None) -> None:
        self._session = session
        self.published = published
        """The last generation; None before the first."""

    @property
    def generation(self) -> int:
        """The number of the last generation; 0 before the first."""
        return self.published.number if self.published else 0

    @property
    def served(self) -> tuple[ShardLineage, ...]:
        """The lineages of the generation that predictions are made from. Raises FileMissing, FileCorrupt."""
        return self._session.store.generations.read(self.published).lineages if self.published else ()

    @property
    def is_behind(self) -> bool:
        """True if the files are an older copy than the journal."""
        return self.published is not None and self._session.store.generations.is_behind(self.published.number)

    @property
    def is_sound(self) -> bool:
        """True if the generation that the journal names is there and unchanged."""
        try:
            _ = self.served
        except (FileMissing, FileCorrupt):
            return False
        return True

    async def publish(self, command: PublishGeneration) -> GenerationPublished:
        """Write a generation. The caller has the turn. Raises CoordinatorSuperseded, StorageFailed."""
        event = await self._session.offload(partial(self._publish, command))
        self.published = event
        return event

    async def purge(self, command: Purge, receipts: Receipts) -> RequestsPurged:
        """Destroy superseded files, and issue the receipts that this completes. The caller has the turn."""
        return await self._session.offload(partial(self._purge, command, receipts))

    def _publish(self, command: PublishGeneration) -> GenerationPublished:
        store, published_at = self._session.store, self._session.clock()

        def work(transaction: Transaction) -> GenerationPublished:
            generation = Generation(
                number=self.generation + 1,
                previous_sha256=self.published.manifest_sha256 if self.published else "",
                cause=command.cause,
                request_ids=(*command.rewound, *command.repaired, *command.settled),
                published_at=published_at,
                constituents=command.constituents,
                lineages=command.lineages,
            )
            manifest = store.generations.write(generation)
            event = GenerationPublished(
                at=generation.published_at,
                number=generation.number,
                manifest_sha256=manifest.sha256,
                rewound=command.rewound,
                repaired=command.repaired,
                settled=command.settled,
            )
            transaction.add(event)
            return event

        return self._session.journal.write(work)  # until it commits, no other coordinator can publish too

    def _purge(self, command: Purge, receipts: Receipts) -> RequestsPurged:
        """Purge by the command alone: a crash may have interrupted an earlier attempt."""
        store, journal = self._session.store, self._session.journal

        def work(transaction: Transaction) -> RequestsPurged:
            store.destroy(command.files)
            store.generations.delete_except(self.generation)
            event = RequestsPurged(
                at=self._session.clock(),
                request_ids=command.request_ids,
                files=tuple(sorted(command.files, key=lambda file: file.path)),
                rows=command.rows,
            )
            head = transaction.purge(event)
            rows = sign_receipts(
                receipts.completed_by(event),
                after=transaction.last_receipt(),
                run=store.manifest.run_id,
                event=head.sequence,
                signing_key=store.keys.signing_key,
            )
            transaction.add_receipts(rows)
            return event

        event = journal.write(work)
        journal.scrub_purged()
        return event
