"""What the next generation tells, and which files may be destroyed once it is published."""

from collections.abc import Iterable, Sequence

from raymu.core.commands import PublishGeneration, Purge, RepairReport, RepairShard
from raymu.core.events import GenerationPublished
from raymu.core.records import Constituent, FileRef, ShardLineage

MOST_GENERATIONS = 16
"""About how many generations a change of every shard is spread over; each brings some votes back."""


class Publication:
    """Requests on their way from a remedy to a generation to the purge, and files on theirs to destruction."""

    def __init__(self) -> None:
        self._to_publish: dict[str, list[str]] = {"rewound": [], "repaired": [], "settled": []}
        self._to_purge: list[str] = []
        self._superseded: set[FileRef] = set()  # by lineages that are not published yet
        self._kept: set[FileRef] = set()  # superseded too, on the way to the last shard of a request
        self._is_repair = False  # a remedy for requests is to be published, if only for a part of them
        self._doomed: set[FileRef] = set()  # by a published generation
        self._is_published = False
        self._has_predecessor = False  # an earlier generation's file is there, beside the published one's
        self.is_stale = False
        """Whether a generation is to be published."""
        self.is_rebuilding = False
        """Whether it is published because of damage."""
        self.unpublished = 0
        """How many remedies came back since the last generation."""

    @property
    def is_clear(self) -> bool:
        """Whether nothing is left to publish or to destroy."""
        return not (self.is_stale or self._doomed or self._to_purge or self._has_predecessor)

    @property
    def to_purge(self) -> tuple[str, ...]:
        """Requests that are published and not purged."""
        return tuple(self._to_purge)

    def can_wait(self, *, shards: int) -> bool:
        """Whether so few remedies came back that they may wait for others: a generation names every shard."""
        return self.unpublished * MOST_GENERATIONS < shards

    def rewind(self, request_ids: Iterable[str]) -> None:
        self._to_publish["rewound"].extend(request_ids)
        self.is_stale = True

    def repair(
        self,
        before: ShardLineage,
        report: RepairReport,
        *,
        repaired: Iterable[str],
        settled: Iterable[str],
        is_part: bool = False,
    ) -> None:
        """A lineage took the place of another.

        repaired, settled: requests that it was the last shard of; is_part: it was for requests, and the last of none, so
        that what it supersedes is destroyed with those
        """
        self._kept |= before.files - report.lineage.files
        self._is_repair |= bool(report.request_ids)
        self.unpublished += 1
        if not is_part:
            self._superseded |= self._kept
            self._kept.clear()
        self._to_publish["repaired"].extend(repaired)
        self._to_publish["settled"].extend(settled)

    def publish(self, constituents: tuple[Constituent, ...], lineages: tuple[ShardLineage, ...]) -> PublishGeneration:
        self.is_stale = True
        return PublishGeneration(
            cause=self._cause(),
            constituents=constituents,
            lineages=lineages,
            rewound=tuple(self._to_publish["rewound"]),
            repaired=tuple(self._to_publish["repaired"]),
            settled=tuple(self._to_publish["settled"]),
        )

    def _cause(self) -> str:
        if not self._is_published:
            return "train"
        if self._is_repair:
            return "repair"
        for cause, what in (("rewind", "rewound"), ("settle", "settled")):
            if self._to_publish[what]:
                return cause
        return "rebuild" if self.is_rebuilding else "settle"

    def published(self, event: GenerationPublished) -> None:
        self._has_predecessor = event.number > 1
        self.is_stale, self._is_repair, self._is_published, self.unpublished = False, False, True, 0
        for told in self._to_publish.values():  # all three: in a replay under later settings some were never told
            told.clear()
        self._to_purge.extend(event.repaired)
        self._doomed |= self._superseded
        self._superseded.clear()

    def purge(self, lineages: Iterable[ShardLineage], working: Sequence[RepairShard], *, rows: int) -> list[Purge]:
        """Destroy what a published generation superseded, once no remedy at work aims at it.

        A generation's own file, which names no sample, goes along, or at the latest when no remedy is at work.
        """
        if self._doomed:  # the same content may have come about again
            self._doomed.difference_update(*(lineage.files for lineage in lineages))
        if not (self._doomed or self._to_purge or (self._has_predecessor and not working)):
            return []
        if any(file in self._doomed for command in working for one in command.references for file in one.files):
            return []
        return [Purge(files=frozenset(self._doomed), request_ids=self.to_purge, rows=rows)]

    def purged(self, request_ids: Sequence[str]) -> None:
        self._doomed.clear()
        self._has_predecessor = False
        purged = set(request_ids)
        self._to_purge = [one for one in self._to_purge if one not in purged]
