"""Populations and traces for the core's tests."""

import numpy as np

from raymu.core.partition import identity_hashes, place_uniform
from raymu.core.planning.trace import RevocableSamples, Trace, TracedRequest


def population(
    *, samples: int = 400, shards: int = 4, slices: int = 4, owners: int | None = None, classes: int = 5
) -> RevocableSamples:
    """Return samples with ids from 0, placed by hash. With `owners`, sample i belongs to owner i modulo that number."""
    ids = np.arange(samples)
    homes = place_uniform(identity_hashes(ids.tolist(), seed=3, purpose="place"), shards=shards, slices=slices)
    return RevocableSamples(
        ids=ids,
        shards=homes[0],
        slices=homes[1],
        labels=ids % classes,
        owners=None if owners is None else np.array([f"owner-{number % owners}" for number in ids], dtype=object),
        shard_count=shards,
        slice_count=slices,
    )


def even_population(*, shards: int, slices: int, each: int) -> RevocableSamples:
    """Return equally many samples in every slice of every shard. Ids count them slice by slice."""
    cells = np.repeat(np.arange(shards * slices), each)
    return RevocableSamples(
        ids=np.arange(len(cells)),
        shards=cells // slices,
        slices=cells % slices,
        labels=np.zeros(len(cells), dtype=np.int64),
        shard_count=shards,
        slice_count=slices,
    )


def without(held: RevocableSamples, sample_id: int) -> RevocableSamples:
    kept = held.ids != sample_id
    return RevocableSamples(
        ids=held.ids[kept],
        shards=held.shards[kept],
        slices=held.slices[kept],
        labels=held.labels[kept],
        owners=None if held.owners is None else held.owners[kept],
        shard_count=held.shard_count,
        slice_count=held.slice_count,
    )


def singles(*requests: tuple[int, float]) -> Trace:
    """Return a trace of single requests, as (id, time in seconds)."""
    return Trace(requests=tuple(TracedRequest(at_s=at_s, ids=(sample_id,)) for sample_id, at_s in requests))
