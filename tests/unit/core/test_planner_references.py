from dataclasses import replace

from raymu.core.planner import MOST_REFERENCES, calibration_references
from tests.unit.core.examples import SLICES, lineage


def chosen(shard: int, shards: int, *, awaited: tuple[int, ...] = (), lost: tuple[int, ...] = ()) -> list[int]:
    sound = [lineage(number) for number in range(shards) if number not in lost]
    return [
        reference.shard
        for reference in calibration_references(shard, sound, shards=shards, is_awaited=lambda other: other in awaited)
    ]


def test_the_next_shards_around_the_ring_are_references_and_never_the_shard_itself() -> None:
    assert chosen(2, 4) == [3, 0, 1]
    assert chosen(0, 1) == []
    assert len(chosen(5, 4 * MOST_REFERENCES)) == MOST_REFERENCES


def test_shards_that_a_request_waits_for_come_last_and_lost_ones_not_at_all() -> None:
    assert chosen(0, 5, awaited=(1, 3), lost=(4,)) == [2, 1, 3]


def test_a_shard_without_samples_is_not_a_reference() -> None:
    empty = replace(lineage(1), slice_samples=(0,) * SLICES)
    assert calibration_references(0, [lineage(0), empty], shards=2, is_awaited=lambda _: False) == ()
