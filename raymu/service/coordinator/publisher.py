"""Publishes generations, and purges the files that they supersede."""

from functools import partial

from raymu.core.commands import PublishGeneration, Purge
from raymu.core.events import GenerationPublished, RequestsPurged
from raymu.core.receipts import Receipts
from raymu.core.records import Generation
from raymu.errors import FileCorrupt, FileMissing
from raymu.service.coordinator.session import Session
from raymu.store.journal.transaction import Transaction
from raymu.store.receipts import sign_receipts

RECORD_WEIGHT = 8
"""A record costs as much to write and to read as so many shards in a whole generation, beside the shards that it names."""


class Publisher:
    """Writes generations, purges and receipts, each together with its event."""

    def __init__(self, session: Session, *, published: GenerationPublished | None) -> None:
        self._session = session
        self.published = published
        """The last generation; None before the first."""
        self._superseded: set[int] | None = None  # whose files may still be there; None: not known, as after a takeover

    @property
    def generation(self) -> int:
        """The number of the last generation; 0 before the first."""
        return self.published.number if self.published else 0

    @property
    def numbers(self) -> range:
        """The generations whose files make up the last one; empty before the first."""
        return self.published.numbers if self.published else range(0)

    @property
    def is_behind(self) -> bool:
        """True if the files are an older copy than the journal."""
        return self.published is not None and self._session.store.generations.is_behind(self.published.number)

    @property
    def is_sound(self) -> bool:
        """True if the generation that the journal names is there and unchanged."""
        try:
            self.require_sound()
        except (FileMissing, FileCorrupt):
            return False
        return True

    def require_sound(self) -> None:
        """Raise FileMissing or FileCorrupt unless the generation that the journal names is there and unchanged."""
        if self.published is not None:
            self._session.store.generations.check_chain(self.published)

    async def publish(self, command: PublishGeneration) -> GenerationPublished:
        """Write a generation. The caller has the turn. Raises CoordinatorSuperseded, StorageFailed."""
        event = await self._session.offload(partial(self._publish, command))
        if self._superseded is not None:
            self._superseded.update(set(self.numbers).difference(event.numbers))
        self.published = event
        return event

    async def purge(self, command: Purge, receipts: Receipts) -> RequestsPurged:
        """Destroy superseded files, and issue the receipts that this completes. The caller has the turn."""
        return await self._session.offload(partial(self._purge, command, receipts))

    def _publish(self, command: PublishGeneration) -> GenerationPublished:
        store, published_at = self._session.store, self._session.clock()
        base, weight = _place_in_chain(self.published, command)
        shards = range(len(command.lineages)) if base is None else command.changed or ()

        def work(transaction: Transaction) -> GenerationPublished:
            generation = Generation(
                number=self.generation + 1,
                previous_sha256=self.published.manifest_sha256 if self.published else "",
                cause=command.cause,
                request_ids=(*command.rewound, *command.repaired, *command.settled),
                published_at=published_at,
                constituents=tuple(command.constituents[shard] for shard in shards),
                lineages=tuple(command.lineages[shard] for shard in shards),
                base=base,
            )
            manifest = store.generations.write(generation)
            event = GenerationPublished(
                at=generation.published_at,
                number=generation.number,
                manifest_sha256=manifest.sha256,
                rewound=command.rewound,
                repaired=command.repaired,
                settled=command.settled,
                base=base,
                weight=weight,
            )
            transaction.add(event)
            return event

        return self._session.journal.write(work)  # until it commits, no other coordinator can publish too

    def _purge(self, command: Purge, receipts: Receipts) -> RequestsPurged:
        """Purge by the command alone: a crash may have interrupted an earlier attempt."""
        store, journal = self._session.store, self._session.journal

        def work(transaction: Transaction) -> RequestsPurged:
            superseded = self._superseded
            if superseded is None:
                superseded = set(store.generations.numbers).difference(self.numbers)
            store.destroy(command.files, generations=superseded)
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
        self._superseded = set()
        journal.scrub_purged()
        return event


def _place_in_chain(published: GenerationPublished | None, command: PublishGeneration) -> tuple[int | None, int]:
    """Return the whole generation that the next one builds on, and the weight of all records since.

    None if it is written whole: because there is none before it, or because the records would outweigh the whole one. So
    a run of S shards writes all of them once in at least S / (RECORD_WEIGHT + 1) generations, and a file of one shard in
    between: a constant amount for each changed shard, however many there are.
    """
    if published is None or command.changed is None:
        return None, 0
    weight = published.weight + RECORD_WEIGHT + len(command.changed)
    if weight > len(command.lineages):
        return None, 0
    return published.number if published.base is None else published.base, weight
