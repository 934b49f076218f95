from dataclasses import replace
from datetime import timedelta

from raymu.core.board.accepted_requests import AcceptedRequests
from tests.unit.core.examples import NOW, request


def test_a_request_is_repaired_once_its_last_shard_is() -> None:
    requests = AcceptedRequests()
    assert requests.add(request("r1", {0: {1: 2}, 3: {0: 1}})) == {0, 3}
    requests.add(request("r2", {3: {0: 1}}))
    assert requests.note_repaired(["r1"], 0) == []
    assert requests.note_repaired(["r1", "r2"], 3) == ["r1", "r2"]
    assert requests.owed({}) == {}


def test_a_request_is_owed_by_shards_that_wait_and_by_shards_that_patched_it() -> None:
    requests = AcceptedRequests()
    requests.add(request("r1", {0: {1: 2}, 3: {0: 1}}))
    requests.note_repaired(["r1"], 3)
    assert requests.owed({"r1": {3}, "r0": {2}}) == {"r1": frozenset({0, 3}), "r0": frozenset({2})}
    assert requests.settled(["r1"], set()) == []
    requests.note_repaired(["r1"], 0)
    assert requests.settled(["r1", "r0", "r1"], {"r0"}) == ["r1"]


def test_a_purged_request_is_no_longer_urgent() -> None:
    requests = AcceptedRequests()
    requests.add(replace(request("r1", {0: {1: 2}}), due_at=NOW - timedelta(days=1)))
    assert requests.is_urgent(["r1"])
    requests.note_repaired(["r1"], 0)
    requests.purge(["r1"])
    assert not requests.is_urgent(["r1"])
