"""Dropping a shard that cannot be repaired: all of its samples are revoked, and it abstains for good."""

from contextlib import closing

from raymu.core.records import SampleId
from raymu.errors import RequestInvalid
from raymu.service.history import open_history
from raymu.store.run import RunStore


def samples_left(store: RunStore, shard: int) -> tuple[SampleId, ...]:
    """Return the ids of a shard's samples that no request names yet.

    Without samples nothing is trained, so a repair for all of them needs no model that works.

    Raises:
        RequestInvalid: There is no such shard, it is the only one, or it has no samples left.
    """
    shards = store.config.partition.shards
    if not 0 <= shard < shards:
        raise RequestInvalid(f"the run has no shard {shard}; it has {shards}, from 0")
    if shards == 1:
        raise RequestInvalid("the run has a single shard, and predicts nothing without it; train anew")
    with closing(store.journal(is_read_only=True)) as journal:
        tables = open_history(store, journal).board.tables
        named = frozenset[SampleId]().union(*journal.raw_ids_of_shard(shard).values())
    ids = [
        sample_id for sample_id in store.samples.read_table(tables[shard])["id"].to_pylist() if sample_id not in named
    ]
    if not ids:
        raise RequestInvalid(f"shard {shard} has no samples left; run `raymu settle` without --drop-shard")
    return tuple(ids)
