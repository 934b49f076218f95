"""The next generation: its content, and the files that can be destroyed once it is published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Self

from raymu.core.board.shard_index import ShardIndex
from raymu.core.board.state import PublicationState, sorted_files
from raymu.core.commands import PublishGeneration, Purge, RepairReport
from raymu.core.events import GenerationPublished
from raymu.core.records import Constituent, FileRef, ShardLineage

MOST_GENERATIONS = 16
"""About how many generations a change of every shard is spread over. Each of them brings some votes back."""


class Publication:
    """Follows requests from their repair to a generation to the purge, and superseded files to their destruction."""

    def __init__(self) -> None:
        self._to_publish: dict[str, list[str]] = {"rewound": [], "repaired": [], "settled": []}
        self._to_purge: list[str] = []
        self._kept: set[FileRef] = set()  # superseded by some shards of a request that waits for its last shard
        self._superseded: set[FileRef] = set()  # superseded by lineages that are not published yet
        self._doomed: set[FileRef] = set()  # superseded by a published generation
        self._has_predecessor = False  # an earlier generation's own file still exists
        self._has_repair = False  # the next generation contains a repair for requests
        self._constituents: list[Constituent] = []  # what each shard serves in the last generation that was ordered
        self._unlike_published: set[int] = set()  # shards that differ from the published generation
        self._ordered: PublishGeneration | None = None
        self.published_command: PublishGeneration | None = None
        """The command that the published generation follows from; None before the first."""
        self.is_stale = False
        """Whether a generation is to be published."""
        self.is_rebuilding = False
        """Whether files are lost, or their replacements are not published yet."""
        self.is_extending = False
        """Whether slices were added, and not every stage of them is trained and published yet."""
        self.is_releasing = False
        """Whether the next generation makes a group visible."""
        self.unpublished = 0
        """Number of repairs since the last generation."""

    @classmethod
    def restored(cls, state: PublicationState, lineages: Sequence[ShardLineage]) -> Self:
        """Go on from a saved state.

        Args:
            state: The state.
            lineages: The lineages of all shards at that time.
        """
        publication = cls()
        publication._to_publish = {
            "rewound": [*state.rewound],
            "repaired": [*state.repaired],
            "settled": [*state.settled],
        }
        publication._to_purge = [*state.to_purge]
        publication._kept, publication._superseded = {*state.kept}, {*state.superseded}
        publication._doomed = {*state.doomed}
        publication._has_predecessor, publication._has_repair = state.has_predecessor, state.has_repair
        publication._ordered = state.ordered
        if state.published:
            earlier = {lineage.shard: lineage for lineage in state.published.lineages}
            whole = tuple(earlier.get(lineage.shard, lineage) for lineage in lineages)
            publication.published_command = replace(state.published, lineages=whole)
        publication.is_stale, publication.unpublished = state.is_stale, state.unpublished
        publication.is_rebuilding, publication.is_extending = state.is_rebuilding, state.is_extending
        publication.is_releasing = state.is_releasing
        return publication

    def state(self, lineages: Sequence[ShardLineage]) -> PublicationState:
        """Return the state to save. lineages: those of all shards now"""
        published = self.published_command
        if published:
            earlier = zip(published.lineages, lineages, strict=True)
            published = replace(published, lineages=tuple(before for before, now in earlier if before != now))
        return PublicationState(
            rewound=tuple(self._to_publish["rewound"]),
            repaired=tuple(self._to_publish["repaired"]),
            settled=tuple(self._to_publish["settled"]),
            to_purge=tuple(self._to_purge),
            kept=sorted_files(self._kept),
            superseded=sorted_files(self._superseded),
            doomed=sorted_files(self._doomed),
            has_predecessor=self._has_predecessor,
            has_repair=self._has_repair,
            is_stale=self.is_stale,
            is_rebuilding=self.is_rebuilding,
            is_extending=self.is_extending,
            unpublished=self.unpublished,
            ordered=self._ordered if self.is_stale else None,
            published=published,
            is_releasing=self.is_releasing,
        )

    @property
    def is_clear(self) -> bool:
        """Whether nothing is left to publish or to destroy."""
        return not (self.is_stale or self._doomed or self._to_purge or self._has_predecessor)

    @property
    def to_purge(self) -> tuple[str, ...]:
        """Requests that are published and not purged."""
        return tuple(self._to_purge)

    @property
    def has_doomed(self) -> bool:
        """Whether a published generation superseded files that are not destroyed yet."""
        return bool(self._doomed)

    def may_defer(self, *, shards: int, further: int = 0) -> bool:
        """Whether the repairs since the last generation are too few to publish.

        A large change would have a generation for each of its repairs.

        Args:
            shards: Number of shards of the run.
            further: Number of repairs that have ended since, and that this object does not know yet.
        """
        return (self.unpublished + further) * MOST_GENERATIONS < shards

    def supersede(self, before: ShardLineage, after: ShardLineage) -> None:
        """Let the files that a shard no longer needs be destroyed once the next generation is published."""
        self._superseded |= before.files - after.files
        self._keep(after.files)

    def add_rewound(self, request_ids: Iterable[str]) -> None:
        """Let the next generation serve the shards of these requests rewound."""
        self._to_publish["rewound"].extend(request_ids)
        self.is_stale, self._ordered = True, None

    def add_repair(
        self,
        before: ShardLineage,
        report: RepairReport,
        *,
        repaired: Iterable[str],
        settled: Iterable[str],
        leaves_other_shards: bool = False,
    ) -> None:
        """Let the next generation serve a repaired shard.

        Args:
            before: The shard's lineage before the repair.
            report: The worker's report.
            repaired: Requests that every shard is repaired for, now that this one is.
            settled: Requests that every shard is retrained for, now that this one is.
            leaves_other_shards: Whether other shards of the requests are still to be repaired. The files that the
                repair supersedes are then destroyed together with those of the other shards.
        """
        self._kept |= before.files - report.lineage.files
        self._has_repair |= bool(report.request_ids)
        self.unpublished += 1
        if not leaves_other_shards:
            self._superseded |= self._kept
            self._kept.clear()
        self._keep(report.lineage.files)
        self._to_publish["repaired"].extend(repaired)
        self._to_publish["settled"].extend(settled)

    def _keep(self, files: frozenset[FileRef]) -> None:
        """Let no file of a shard's new state be destroyed: a repair may have produced the content of an earlier one again."""
        for doomed in (self._kept, self._superseded, self._doomed):
            doomed -= files

    def publish(self, changes: Mapping[int, Constituent], lineages: tuple[ShardLineage, ...]) -> PublishGeneration:
        """Order a generation. Only shards that changed since the last order are compared with the published one.

        Args:
            changes: What each shard serves that changed since the last order; of all shards the first time.
            lineages: The lineage of each shard.
        """
        if not self._constituents:
            self._constituents = [changes[shard] for shard in sorted(changes)]
        published = self.published_command
        for shard, constituent in changes.items():
            self._constituents[shard] = constituent
            if published and (constituent, lineages[shard]) != (
                published.constituents[shard],
                published.lineages[shard],
            ):
                self._unlike_published.add(shard)
            else:
                self._unlike_published.discard(shard)
        is_whole = published is None or self.is_rebuilding  # when files of generations may be lost too
        self.is_stale = True
        self._ordered = PublishGeneration(
            cause=self._cause(),
            constituents=tuple(self._constituents),
            lineages=lineages,
            rewound=tuple(self._to_publish["rewound"]),
            repaired=tuple(self._to_publish["repaired"]),
            settled=tuple(self._to_publish["settled"]),
            changed=None if is_whole else tuple(sorted(self._unlike_published)),
        )
        return self._ordered

    def _cause(self) -> str:
        if not self.published_command:
            return "train"
        if self._has_repair:
            return "repair"
        for cause, change in (("rewind", "rewound"), ("settle", "settled")):
            if self._to_publish[change]:
                return cause
        if self.is_releasing:
            return "release"
        if self.is_rebuilding:
            return "rebuild"
        return "extend" if self.is_extending else "settle"

    def record_published(self, event: GenerationPublished) -> None:
        """Note that the ordered generation is published, so that the files it superseded may be destroyed."""
        self._has_predecessor |= event.number > 1 and event.base is None
        self.published_command = self._ordered
        self.is_stale, self._has_repair, self.is_releasing, self.unpublished = False, False, False, 0
        self._unlike_published.clear()
        # All three lists: a replay under other settings may have ordered less than was published.
        for request_ids in self._to_publish.values():
            request_ids.clear()
        self._to_purge.extend(event.repaired)
        self._doomed |= self._superseded
        self._superseded.clear()

    def purge(self, shards: ShardIndex, *, rows: int) -> list[Purge]:
        """Order the destruction of superseded files, unless a running repair still reads one of them.

        Superseded generation files do not name samples. They are deleted with the next purge, or once all repairs have
        ended.
        """
        if not (self._doomed or self._to_purge or (self._has_predecessor and not shards.running)):
            return []
        if shards.is_read(self._doomed):
            return []
        return [Purge(files=frozenset(self._doomed), request_ids=self.to_purge, rows=rows)]

    def record_purged(self, request_ids: Sequence[str]) -> None:
        """Note that the superseded files and the raw ids of these requests are destroyed."""
        self._doomed.clear()
        self._has_predecessor = False
        purged = set(request_ids)
        self._to_purge = [request_id for request_id in self._to_purge if request_id not in purged]
