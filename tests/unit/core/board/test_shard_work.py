from raymu.core.board.shard_work import Backlog
from tests.unit.core.examples import request


def filled() -> Backlog:
    backlog = Backlog()
    assert backlog.add(request("r1", {0: {1: 2}, 1: {0: 1}})) == {0, 1}
    assert backlog.add(request("r2", {0: {1: 1, 3: 4}})) == {0}
    return backlog


def test_requests_wait_in_order_of_arrival_and_those_put_back_come_first() -> None:
    backlog = filled()
    served = backlog.waiting(0)
    backlog.take(0)
    assert (served, backlog.shards) == (["r1", "r2"], {1})
    backlog.add(request("r3", {0: {2: 1}}))
    backlog.put_back(0, served)
    assert backlog.waiting(0) == ["r1", "r2", "r3"]


def test_a_request_is_repaired_once_every_shard_is_past_it() -> None:
    backlog = filled()
    assert backlog.repair(["r1", "r2"], 0) == ["r2"]
    assert backlog.unrepaired == ("r1",)
    assert backlog.repair(["r1"], 1) == ["r1"]


def test_requests_for_a_shard_touch_its_slices_together() -> None:
    backlog = filled()
    assert backlog.touched(0, ["r1", "r2"]) == {1: 3, 3: 4}
    assert backlog.touched(1, ["r1"], request("r3", {0: {0: 9}, 1: {0: 1}})) == {0: 2}
    assert backlog.samples(["r1", "r2"]) == 8


def test_a_purged_request_is_dropped() -> None:
    backlog = filled()
    backlog.drop(["r1"])
    assert "r1" not in backlog
    assert "r2" in backlog
