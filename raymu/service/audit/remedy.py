"""The remedy of the audited requests in one shard, as the run's receipts tell it."""

from collections.abc import Iterable, Iterator

import numpy as np

from raymu.core.partition import Indices
from raymu.core.planner import calibration_references
from raymu.core.receipt import ShardReceipt
from raymu.core.records import Exactness, Generation, Remedy, ShardState
from raymu.service.audit.forget_set import ForgottenSamples
from raymu.service.shard.files import read_shard_samples
from raymu.store.run import RunStore
from raymu.training.audit.remedy import AuditedRemedy, AuditedRepair

_WAITING = (ShardState.REWOUND, ShardState.ABSTAINING)


def remedy_of_shard(
    store: RunStore, generation: Generation, forgotten: ForgottenSamples, shard: int, *, is_repeated: bool
) -> AuditedRemedy:
    """Return what was done to a shard for the audited samples, with what it takes to do it again.

    A patch aims at the models that the other shards serve now: those of the time are destroyed.

    Args:
        store: The run.
        generation: The served generation.
        forgotten: The forgotten samples of all shards.
        shard: The audited shard.
        is_repeated: Whether the remedy is repeated at all. Without repetitions the result has no repairs.

    Raises:
        FileMissing: A file of the run is missing.
        FileCorrupt: A file of the run was changed.
    """
    unlearning = store.config.unlearning
    repairs = tuple(_repairs(forgotten, shard)) if is_repeated else ()
    if all(repair.remedy is Remedy.RETRAIN for repair in repairs):
        return AuditedRemedy(repairs=repairs, unlearning=unlearning)
    references = calibration_references(
        shard,
        generation.lineages,
        shards=len(generation.lineages),
        is_awaited=lambda other: generation.constituents[other].state in _WAITING,
    )
    is_fine_tuned = any(repair.remedy is Remedy.FINE_TUNE for repair in repairs)
    return AuditedRemedy(
        repairs=repairs,
        unlearning=unlearning,
        references=tuple(store.files.read_checked(reference.checkpoint.file) for reference in references),
        unseen=read_shard_samples(store, references[0].table) if references and is_fine_tuned else None,
    )


def _repairs(forgotten: ForgottenSamples, shard: int) -> Iterator[AuditedRepair]:
    """Yield the repairs: one retraining that all before the last one are part of, then the patches in their order."""
    is_here = forgotten.shards == shard
    requests_by_repair: dict[str, tuple[Remedy, list[str]]] = {}
    for request_id, part in _parts(forgotten, shard):
        is_patched = part.exactness is Exactness.APPROXIMATE
        remedy = part.remedy if is_patched else Remedy.RETRAIN
        requests_by_repair.setdefault(part.command_id if is_patched else "", (remedy, []))[1].append(request_id)
    tainted_from: int | None = None
    # Of a shard's requests, those that are retrained came before those that are patched: a retraining settles all.
    for remedy, request_ids in sorted(requests_by_repair.values(), key=lambda repair: repair[0] is not Remedy.RETRAIN):
        is_its = is_here & np.isin(forgotten.request_ids, request_ids)
        if not is_its.any():
            continue
        earliest = _earliest(forgotten.slices[is_its], tainted_from)
        if remedy is not Remedy.RETRAIN:
            tainted_from = earliest
        yield AuditedRepair(remedy=remedy, forget=forgotten.hashes[is_its], earliest_slice=earliest)


def _parts(forgotten: ForgottenSamples, shard: int) -> Iterable[tuple[str, ShardReceipt]]:
    """Return the part of each audited request that is about a shard, in the order in which they were accepted."""
    return (
        (receipt.request_id, part) for receipt in forgotten.receipts for part in receipt.shards if part.shard == shard
    )


def _earliest(slices: Indices, tainted_from: int | None) -> int:
    earliest = int(slices.min())
    return earliest if tainted_from is None else min(earliest, tainted_from)
