"""The group of repaired requests that become visible together: which shards wait for it, and when it is complete."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from raymu.config.unlearning import PublishConfig
from raymu.core.requests import RevocationRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingGroup:
    """Repaired states that no prediction comes from yet. Meanwhile their shards stay rewound, or abstain.

    What the repairs superseded is purged without regard to the group: it delays accuracy, and never forgetting.
    """

    shards: Mapping[int, int] = field(default_factory=dict)
    """Shard that waits -> the first slice whose stage it does not serve meanwhile."""
    request_ids: tuple[str, ...] = ()
    """Requests that are repaired on every shard since the last group became visible, in the order of their repairs."""
    since: datetime | None = None
    """When the first of the shards was repaired; None if none waits."""

    def with_shard(self, shard: int, first_slice: int, *, at: datetime) -> Self:
        """Let a repaired shard wait.

        Args:
            shard: The shard.
            first_slice: The earliest slice that the repair took samples out of.
            at: When it was repaired.
        """
        waits_from = min(first_slice, self.shards.get(shard, first_slice))
        return replace(self, shards={**self.shards, shard: waits_from}, since=self.since or at)

    def with_requests(self, requests: Iterable[RevocationRequest]) -> Self:
        """Count requests that every shard is repaired for now. One without a shard that waits hides none of the others."""
        counted = [
            request.request_id for request in requests if any(part.shard in self.shards for part in request.forget)
        ]
        return replace(self, request_ids=(*self.request_ids, *counted)) if counted else self

    def is_ready(self, publish: PublishConfig | None, now: datetime) -> bool:
        """Return whether the group is to become visible.

        Args:
            publish: The settings; None if results are not grouped.
            now: The present time.
        """
        if publish is None or not self.shards:
            return bool(self.shards)
        due_at = self.due_at(publish)
        return len(self.request_ids) >= publish.at_least or (due_at is not None and due_at <= now)

    def due_at(self, publish: PublishConfig | None) -> datetime | None:
        """Return when the group becomes visible, however small it is; None if no shard waits."""
        if self.since is None or publish is None:
            return self.since
        try:
            return self.since + publish.every
        except OverflowError:  # a time beyond all dates
            return datetime.max.replace(tzinfo=self.since.tzinfo)


NO_GROUP = WaitingGroup()
"""No shard waits."""
