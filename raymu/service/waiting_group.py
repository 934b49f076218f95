"""The repaired requests that wait to become visible together, and what one of them still waits for."""

from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from raymu.core.board.board import RevocationBoard
from raymu.core.receipt import Receipt
from raymu.core.records import Generation, ShardState
from raymu.service.history import History, open_history
from raymu.service.served import rewound_for_accepted
from raymu.store.run import RunStore
from raymu.text import plural


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupWait:
    """What a repaired request waits for before predictions come from its repaired states. It is forgotten meanwhile."""

    further_requests: int
    """How many more repaired requests make the group complete."""
    visible_by: datetime
    """When the group becomes visible, however small it is."""
    rewound_shards: int
    """Shards of the request that serve a state from before its samples until then."""
    abstaining_shards: int
    """Shards of the request without a vote until then."""

    def __str__(self) -> str:
        """Say it in one line."""
        rewound, abstaining = self.rewound_shards, self.abstaining_shards
        shards = [f"{plural(rewound, 'shard')} rewound"] if rewound else []
        shards += [f"{plural(abstaining, 'shard')} without a vote"] if abstaining else []
        more = f"for {plural(self.further_requests, 'further repaired request')}, or " if self.further_requests else ""
        return (
            f"acknowledged and forgotten, with {' and '.join(shards) or 'no shard'} meanwhile. The visible change waits "
            f"{more}until {self.visible_by.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupStatus:
    """The repaired requests whose effect on predictions becomes visible together (`unlearning.publish`)."""

    requests: int
    """Those that are repaired on every shard."""
    at_least: int
    """As many make the group complete."""
    shards: tuple[int, ...]
    """Shards that are rewound or abstain meanwhile, although they are repaired."""
    due_at: datetime
    """When it becomes visible, however small it is."""
    request_ids: tuple[str, ...] = ()
    """The requests, in the order of their repairs."""
    abstaining: tuple[int, ...] = ()
    """Those of the shards that have no vote meanwhile."""

    def __str__(self) -> str:
        """Say it in one line."""
        waiting = f"{plural(self.requests, 'repaired request')} of at least {self.at_least}"
        return f"group: {waiting}, visible by {self.due_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC; {self._shards}"

    @property
    def _shards(self) -> str:
        return f"{plural(len(self.shards), 'shard')} rewound or without a vote until then"

    @property
    def further_requests(self) -> int:
        """How many more repaired requests make the group complete."""
        return max(0, self.at_least - self.requests)

    def wait_of(self, receipt: Receipt) -> GroupWait | None:
        """Return what a request waits for; None if it is not of the group."""
        if receipt.request_id not in self.request_ids:
            return None
        own = {part.shard for part in receipt.shards} & {*self.shards}
        abstaining = len(own & {*self.abstaining})
        return GroupWait(
            further_requests=self.further_requests,
            visible_by=self.due_at,
            rewound_shards=len(own) - abstaining,
            abstaining_shards=abstaining,
        )


def group_status(board: RevocationBoard, generation: Generation) -> GroupStatus | None:
    """Return the group that waits; None if none does. generation: the one that is served"""
    due_at, publish = board.group_due_at, board.publish
    if due_at is None or publish is None:
        return None
    group = board.group
    without_vote = {served.shard for served in generation.constituents if served.state is ShardState.ABSTAINING}
    return GroupStatus(
        requests=len(group.request_ids),
        at_least=publish.at_least,
        shards=tuple(sorted(group.shards)),
        due_at=due_at,
        request_ids=group.request_ids,
        abstaining=tuple(sorted(without_vote & group.shards.keys())),
    )


def group_waits(store: RunStore, request_ids: Collection[str]) -> dict[str, GroupWait]:
    """Return what those of some requests wait for that are repaired and not visible yet.

    Raises RunInvalid if the run is not trained.
    """
    with closing(store.journal(is_read_only=True)) as journal:
        history = open_history(store, journal)
        waiting = frozenset(request_ids) & {*history.board.group.request_ids}
        receipts = history.receipts.find(waiting) if waiting else {}
    return waits_of(store, history, receipts.values())


def waits_of(store: RunStore, history: History, receipts: Iterable[Receipt]) -> dict[str, GroupWait]:
    """Return what those of some requests wait for that are repaired and not visible yet.

    Args:
        store: The run.
        history: Its history.
        receipts: The receipts of the requests, from this history.

    Raises:
        RunInvalid: The run is not trained.
    """
    waiting = [receipt for receipt in receipts if receipt.request_id in history.board.group.request_ids]
    if not waiting:
        return {}
    group = group_status(history.board, rewound_for_accepted(store.current(), history))
    waits = {receipt.request_id: group.wait_of(receipt) for receipt in waiting} if group else {}
    return {request_id: wait for request_id, wait in waits.items() if wait is not None}
