"""What a run publishes, and what it destroys thereupon."""

from collections.abc import Callable
from datetime import datetime

from raymu.core.commands import PublishGeneration, Purge
from raymu.core.events import GenerationPublished, RequestsPurged
from raymu.core.receipt import Receipts
from raymu.core.records import Generation, ShardLineage
from raymu.errors import FileCorrupt, FileMissing
from raymu.store.journal.journal import Journal
from raymu.store.receipts import sign_receipts
from raymu.store.run import RunStore


class Publisher:
    """Writes generations and their events as one, and destroys and receipts what they complete."""

    def __init__(
        self, store: RunStore, journal: Journal, *, clock: Callable[[], datetime], published: GenerationPublished | None
    ) -> None:
        """published: the last generation, None before the first"""
        self._store, self._journal, self._clock = store, journal, clock
        self.published = published

    @property
    def generation(self) -> int:
        """The number of the last one; 0 before the first."""
        return self.published.number if self.published else 0

    @property
    def served(self) -> tuple[ShardLineage, ...]:
        """The lineages of the generation that predictions are made from. Raises FileMissing, FileCorrupt."""
        return self._store.generations.read(self.published).lineages if self.published else ()

    @property
    def is_behind(self) -> bool:
        """Whether the files are an older copy than the journal."""
        return self.published is not None and self._store.generations.is_behind(self.published.number)

    @property
    def is_sound(self) -> bool:
        """Whether the generation that the journal names is there and unchanged."""
        try:
            _ = self.served
        except (FileMissing, FileCorrupt):
            return False
        return True

    def publish(self, command: PublishGeneration) -> GenerationPublished:
        with self._journal.writing() as entry:  # until it commits no other coordinator can take over, and publish too
            generation = Generation(
                number=self.generation + 1,
                previous_sha256=self.published.manifest_sha256 if self.published else "",
                cause=command.cause,
                request_ids=(*command.rewound, *command.repaired, *command.settled),
                published_at=self._clock(),
                constituents=command.constituents,
                lineages=command.lineages,
            )
            manifest = self._store.generations.write(generation)
            event = GenerationPublished(
                at=generation.published_at,
                number=generation.number,
                manifest_sha256=manifest.sha256,
                rewound=command.rewound,
                repaired=command.repaired,
                settled=command.settled,
            )
            entry.add(event)
        self.published = event
        return event

    def purge(self, command: Purge, receipts: Receipts) -> RequestsPurged:
        """Destroy what is superseded, and issue the receipts that this completes.

        What is destroyed is told by the command, since a crash may have come in the middle.
        """
        with self._journal.writing() as entry:
            self._store.destroy(command.files)
            self._store.generations.delete_except(self.generation)
            event = RequestsPurged(
                at=self._clock(),
                request_ids=command.request_ids,
                files=tuple(sorted(command.files, key=lambda file: file.path)),
                rows=command.rows,
            )
            head = entry.purge(event)
            rows = sign_receipts(
                receipts.completed_by(event),
                after=entry.last_receipt(),
                run=self._store.manifest.run_id,
                event=head.sequence,
                signing_key=self._store.keys.signing_key,
            )
            entry.add_receipts(rows)
        self._journal.scrub_purged()
        return event
