"""The forgotten samples of requests, from a file of the user's: once they are purged the run has nothing but their hashes."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from raymu.core.partition import Hashes, Positions, identity_hashes
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.data.ids import as_sample_ids
from raymu.data.tables import SampleTable, read_table
from raymu.errors import DataInvalid, RequestInvalid
from raymu.service.history import replay
from raymu.service.ingest import place
from raymu.service.pseudonyms import pseudonym, sample_name
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditScope:
    """What is audited.

    request_ids: all that are repaired where empty; ids: only these of the requests' samples, where there are any
    data: a file with the samples' rows, which the run has destroyed; the one that it was trained from where not given
    test: a labelled table; the configuration's where not given
    shadow_models: for each shard, an even number
    """

    request_ids: tuple[str, ...] = ()
    ids: tuple[SampleId, ...] = ()
    data: str | None = None
    test: str | None = None
    shadow_models: int = 16


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ForgottenSamples:
    """rows: (samples,) in the file, from 0; names: their keyed hashes; the others: (samples,) too"""

    table: SampleTable
    rows: Positions
    names: npt.NDArray[np.str_]
    request_ids: npt.NDArray[np.str_]
    shards: Positions
    slices: Positions
    hashes: Hashes

    def of_request(self, request_id: str) -> "ForgottenSamples":
        return self._take(np.flatnonzero(self.request_ids == request_id))

    def named(self, ids: Collection[SampleId]) -> "ForgottenSamples":
        """Raises RequestInvalid where one is not among them."""
        asked = set(ids)
        rows = np.flatnonzero([one in asked for one in self.table.ids.tolist()])
        if len(rows) < len(asked):
            raise RequestInvalid(
                f"{len(asked) - len(rows)} of the samples named here are not revoked, or not by the requests that are "
                "audited; an audit is of what was forgotten"
            )
        return self._take(rows)

    def in_shard(self, shard: int) -> ShardSamples:
        rows = np.flatnonzero(self.shards == shard)
        return ShardSamples.ordered(self.table.take(rows), hashes=self.hashes[rows], slices=self.slices[rows])

    def _take(self, rows: Positions) -> "ForgottenSamples":
        return ForgottenSamples(
            table=self.table.take(rows),
            rows=self.rows[rows],
            names=self.names[rows],
            request_ids=self.request_ids[rows],
            shards=self.shards[rows],
            slices=self.slices[rows],
            hashes=self.hashes[rows],
        )


def find_forgotten(store: RunStore, scope: AuditScope) -> ForgottenSamples:
    """Raises RequestInvalid, DataInvalid."""
    with closing(store.journal(is_read_only=True)) as journal:
        receipts = replay(journal, store.manifest).receipts.receipts()
        revoked = journal.revoked()
    chosen = _chosen(receipts, scope.request_ids)
    path = scope.data or store.config.data.train
    table = _read(store, path)
    every = np.array([pseudonym(sample_name(one), store.keys.hash_key) for one in table.ids.tolist()])
    request_ids = np.array([revoked.get(name, "") for name in every.tolist()])
    rows = np.flatnonzero(np.isin(request_ids, [receipt.request_id for receipt in chosen]))
    table = table.take(rows)
    shards, slices = place(table, store.config.partition)
    found = ForgottenSamples(
        table=table,
        rows=rows,
        names=every[rows],
        request_ids=request_ids[rows],
        shards=shards,
        slices=slices,
        hashes=identity_hashes(table.ids.tolist(), seed=store.config.partition.seed, purpose="sample"),
    )
    for receipt in chosen:
        _require_all(path, receipt, Counter(found.of_request(receipt.request_id).shards.tolist()))
    return found.named(as_sample_ids(scope.ids, integers=store.manifest.has_integer_ids)) if scope.ids else found


def _chosen(receipts: Sequence[Receipt], request_ids: Sequence[str]) -> list[Receipt]:
    """Those asked for, or all that are repaired."""
    by_id = {receipt.request_id: receipt for receipt in receipts}
    unknown = [one for one in request_ids if one not in by_id]
    if unknown:
        raise RequestInvalid(f"the run knows no request {unknown[0]}; leave it out to audit all requests")
    asked = [by_id[one] for one in dict.fromkeys(request_ids)] or list(receipts)
    if not asked:
        raise RequestInvalid("nothing was revoked from this run: an audit is of what was forgotten")
    repaired = [receipt for receipt in asked if receipt.published_at]
    if not repaired or (request_ids and repaired != asked):
        waiting = next(receipt.request_id for receipt in asked if not receipt.published_at)
        raise RequestInvalid(f"request {waiting} is accepted and not repaired yet; run `raymu settle` first")
    return repaired


def _read(store: RunStore, path: str) -> SampleTable:
    manifest = store.manifest
    try:
        table = read_table(path, replace(store.config.data, classes=manifest.classes))
    except DataInvalid as error:
        raise DataInvalid(
            path, f"{error.problem}; an audit needs the rows that the run destroyed: name a file of them with --data"
        ) from error
    if table.features.shape[1:] != manifest.input_shape:
        raise DataInvalid(path, f"features have shape {table.features.shape[1:]}, the run's {manifest.input_shape}")
    return table


def _require_all(path: str, receipt: Receipt, found: Counter[int]) -> None:
    if found != {part.shard: part.samples for part in receipt.shards}:
        raise DataInvalid(
            path,
            f"lacks samples of request {receipt.request_id}, or has them with other owners or risks "
            f"({found.total()} of {receipt.samples}); the run destroyed its own: name the file that it was trained from "
            "with --data",
        )
