"""The accepted requests until their purge: the shards that each waits for, and the shards that owe it a retraining."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Self

from raymu.core.requests import RevocationRequest


class AcceptedRequests:
    """Follows each request from shard to shard."""

    def __init__(self) -> None:
        """Begin without a request."""
        self.by_id: dict[str, RevocationRequest] = {}
        """The requests that are not purged, in the order of acceptance."""
        self.unrepaired: dict[str, set[int]] = {}
        """Request -> shards that are not repaired for it, in the order of acceptance."""
        self.patched: set[str] = set()
        """Requests that some shard has ever patched."""

    @classmethod
    def restored(
        cls,
        requests: Iterable[RevocationRequest],
        *,
        unrepaired: Mapping[str, Iterable[int]],
        patched: Iterable[str],
    ) -> Self:
        """Go on from a saved state. The parameters are its fields."""
        accepted = cls()
        accepted.by_id = {request.request_id: request for request in requests}
        accepted.unrepaired = {each: set(unrepaired[each]) for each in accepted.by_id if each in unrepaired}
        accepted.patched = set(patched)
        return accepted

    def add(self, request: RevocationRequest) -> set[int]:
        """Let a request wait for each shard that it touches, and return these."""
        shards = {part.shard for part in request.forget}
        self.by_id[request.request_id] = request
        self.unrepaired[request.request_id] = set(shards)
        return shards

    def of(self, request_ids: Iterable[str]) -> list[RevocationRequest]:
        """Return these requests."""
        return [self.by_id[request_id] for request_id in request_ids]

    def is_urgent(self, request_ids: Iterable[str]) -> bool:
        """Return whether one of these requests came overdue. Those that are purged do not count."""
        return any(self.by_id[request_id].came_overdue for request_id in request_ids if request_id in self.by_id)

    def note_repaired(self, request_ids: Iterable[str], shard: int) -> list[str]:
        """Note that a shard is repaired for these requests. Return those that no other shard is left for."""
        repaired = []
        for request_id in request_ids:
            self.unrepaired[request_id].discard(shard)
            if not self.unrepaired[request_id]:
                del self.unrepaired[request_id]
                repaired.append(request_id)
        return repaired

    def settled(self, request_ids: Iterable[str], debts: Set[str]) -> list[str]:
        """Return those of the requests that every shard is repaired for and that are no shard's debt."""
        owed = debts | self.unrepaired.keys()
        return [each for each in dict.fromkeys(request_ids) if each not in owed]

    def owed(self, debts: Mapping[str, Set[int]]) -> dict[str, frozenset[int]]:
        """Return the shards that owe each request that is not exact yet.

        Args:
            debts: Request -> the shards that have only patched it.
        """
        nothing = frozenset[int]()
        return {
            request_id: nothing.union(self.unrepaired.get(request_id, ()), debts.get(request_id, ()))
            for request_id in {**self.unrepaired, **debts}
        }

    def purge(self, request_ids: Sequence[str]) -> None:
        """Drop requests that every shard is repaired for."""
        for request_id in request_ids:
            self.by_id.pop(request_id, None)
        self.patched.difference_update(request_ids)
