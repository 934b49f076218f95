"""Which other shards' models a patch is calibrated to."""

from collections.abc import Callable, Iterable

from raymu.core.records import Reference, ShardLineage

MOST_REFERENCES = 8
"""How many other shards' models a calibration aims at; more cost time and barely move the mean."""


def references_for(
    shard: int, sound: Iterable[ShardLineage], *, shards: int, is_awaited: Callable[[int], bool]
) -> tuple[Reference, ...]:
    """The next shards around the ring that have samples, those that no request waits for first.

    sound: the lineages whose files are there; is_awaited: whether a request waits for a shard
    """
    others = [one for one in sound if one.shard != shard and one.samples]
    others.sort(key=lambda one: (is_awaited(one.shard), (one.shard - shard) % shards))
    return tuple(
        Reference(shard=one.shard, checkpoint=one.serving, table=one.table) for one in others[:MOST_REFERENCES]
    )
