"""A small shard with a few forgotten samples, and as many samples that it never saw."""

from typing import Any

import numpy as np

from raymu.training.audit.samples import AuditSamples
from raymu.training.batches import ShardSamples
from tests.support.shard_training import make_plan, make_samples, make_table

FORGOTTEN = 4


def make_parts() -> tuple[ShardSamples, ShardSamples, ShardSamples]:
    """Return retained, forgotten and unseen samples."""
    samples = make_samples(make_table(80))
    order = np.argsort(samples.hashes)
    places = [order[:FORGOTTEN], order[FORGOTTEN:40], order[40:]]
    forget, retain, unseen = (samples.where(np.isin(np.arange(80), place)) for place in places)
    return retain, forget, unseen


def make_pool(**branches: dict[str, Any]) -> AuditSamples:
    retain, forget, unseen = make_parts()
    return AuditSamples.gather(retain, forget, unseen, spec=make_plan(**branches), shard=0, device="cpu", threads=1)
