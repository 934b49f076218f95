"""The state of a board as plain records, from which another board goes on as if it had handled the same events."""

from collections.abc import Mapping
from dataclasses import dataclass

from raymu.core.board.group import NO_GROUP, WaitingGroup
from raymu.core.board.shard_work import ShardWork
from raymu.core.commands import PublishGeneration
from raymu.core.records import FileRef
from raymu.core.repair_speed import RepairSpeeds
from raymu.core.requests import RevocationRequest
from raymu.core.run_shape import RunShape


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicationState:
    """What the next generation and the next purge contain so far."""

    rewound: tuple[str, ...]
    """Requests that the next generation rewinds."""
    repaired: tuple[str, ...]
    """Requests that it repairs."""
    settled: tuple[str, ...]
    """Requests that it settles."""
    to_purge: tuple[str, ...]
    """Requests that are published and not purged."""
    kept: tuple[FileRef, ...]
    """Files that are superseded by some shards of a request that waits for its last shard."""
    superseded: tuple[FileRef, ...]
    """Files that the next generation supersedes."""
    doomed: tuple[FileRef, ...]
    """Files that a published generation superseded, and that are not destroyed yet."""
    has_predecessor: bool
    """Whether the file of an earlier generation still exists."""
    has_repair: bool
    """Whether the next generation contains a repair for requests."""
    is_stale: bool
    """Whether a generation is to be published."""
    is_rebuilding: bool
    """Whether files are lost, or their replacements are not published yet."""
    is_extending: bool
    """Whether slices were added, and not every stage of them is trained and published yet."""
    unpublished: int
    """Number of repairs since the last generation."""
    ordered: PublishGeneration | None
    """The generation that is ordered and not published."""
    published: PublishGeneration | None
    """The published generation, with the lineages alone that the shards no longer have; None before the first."""
    is_releasing: bool = False
    """Whether the next generation makes a group visible."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardState:
    """Everything that a board knows. It grows with shards and with open requests, and not with those that are done."""

    shape: RunShape
    shards: tuple[ShardWork, ...]
    requests: tuple[RevocationRequest, ...]
    """The requests that are not purged, in the order of acceptance."""
    unrepaired: Mapping[str, tuple[int, ...]]
    """Open request -> the shards that are not repaired for it."""
    patched: tuple[str, ...]
    """Open requests that some shard has patched."""
    publication: PublicationState
    extensions: tuple[int, ...]
    """The number of slices of each extension."""
    routes: tuple[tuple[FileRef, ...] | None, ...]
    """The routes to the samples of each extension."""
    speeds: RepairSpeeds
    group: WaitingGroup = NO_GROUP
    """The repaired states that wait to become visible together."""


def sorted_files(files: set[FileRef]) -> tuple[FileRef, ...]:
    """Return files in an order that does not depend on how they were collected."""
    return tuple(sorted(files, key=lambda file: (file.path, file.sha256)))
