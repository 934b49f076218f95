"""The requests that a run is not done with: which shards they wait for, and what they touch there."""

from collections.abc import Iterable, Sequence

from raymu.core.requests import RevocationRequest


class Backlog:
    """Requests from acceptance to purge."""

    def __init__(self) -> None:
        self._requests: dict[str, RevocationRequest] = {}
        self._waiting: dict[int, list[str]] = {}  # by shard, in order of arrival
        self._unrepaired: dict[str, set[int]] = {}  # by request, the shards still to be repaired

    def __getitem__(self, request_id: str) -> RevocationRequest:
        return self._requests[request_id]

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._requests

    @property
    def unrepaired(self) -> tuple[str, ...]:
        """Requests that some shard is not past yet."""
        return tuple(self._unrepaired)

    def is_repaired(self, request_id: str) -> bool:
        """Whether every shard is past a request."""
        return request_id not in self._unrepaired

    @property
    def shards(self) -> set[int]:
        """Those that requests wait for."""
        return {shard for shard, request_ids in self._waiting.items() if request_ids}

    def add(self, request: RevocationRequest) -> set[int]:
        """returns: the shards that it waits for from now on"""
        shards = {part.shard for part in request.forget}
        self._requests[request.request_id] = request
        self._unrepaired[request.request_id] = set(shards)
        for shard in shards:
            self._waiting.setdefault(shard, []).append(request.request_id)
        return shards

    def waiting(self, shard: int) -> list[str]:
        return list(self._waiting.get(shard, []))

    def take(self, shard: int) -> None:
        """Its requests are being served."""
        self._waiting.pop(shard, None)

    def put_back(self, shard: int, request_ids: Sequence[str]) -> None:
        """They wait again, before those that came since."""
        self._waiting[shard] = [*request_ids, *self.waiting(shard)]

    def repair(self, request_ids: Iterable[str], shard: int) -> list[str]:
        """Note that a shard is past these requests. returns: those that it was the last shard of"""
        repaired = []
        for request_id in request_ids:
            self._unrepaired[request_id].discard(shard)
            if not self._unrepaired[request_id]:
                del self._unrepaired[request_id]
                repaired.append(request_id)
        return repaired

    def drop(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            self._requests.pop(request_id, None)

    def samples(self, request_ids: Iterable[str]) -> int:
        return sum(self._requests[one].samples for one in request_ids)

    def touched(self, shard: int, request_ids: Iterable[str], *others: RevocationRequest) -> dict[int, int]:
        """slice -> forgotten samples, over all these requests together"""
        touched: dict[int, int] = {}
        for request in (*(self._requests[one] for one in request_ids), *others):
            for part in request.forget:
                if part.shard == shard:
                    for position, count in part.samples_by_slice.items():
                        touched[position] = touched.get(position, 0) + count
        return touched
