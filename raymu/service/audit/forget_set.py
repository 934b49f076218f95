"""The forgotten samples of requests, read from a file of the user's: the run itself keeps only their keyed hashes."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Mask
from raymu.core.partition import Hashes, Indices, identity_hashes
from raymu.core.receipt import Receipt
from raymu.core.records import Exactness, SampleId
from raymu.data.frames import source_of
from raymu.data.ids import as_sample_ids
from raymu.data.spellings import spelling_in, spellings
from raymu.data.tables import SampleTable, joined_tables, read_table, require_shape
from raymu.errors import DataInvalid, RequestInvalid
from raymu.service.history import replay
from raymu.service.history_parts import history_parts
from raymu.service.pseudonyms import identity_text, pseudonym
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditScope:
    """The requests to audit, and the data and sizes of the audit."""

    request_ids: tuple[str, ...] = ()
    """The requests; by default all that are repaired."""
    ids: tuple[SampleId, ...] = ()
    """The samples; by default all samples of the requests."""
    data: str | None = None
    """A file with the rows that the run has destroyed; by default the file that it was trained from."""
    test: str | None = None
    """A labelled table; by default the configured one."""
    shadow_models: int = 16
    """Shadow models of each shard, an even number."""
    repetitions: int = 8
    """How often the remedy is repeated on each shard, each time with another seed; 0 for not at all."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ForgottenSamples:
    """Forgotten samples and their places in the run. All arrays have one element a sample."""

    receipts: tuple[Receipt, ...]
    """Of the audited requests, in the order in which they were accepted."""
    table: SampleTable
    pseudonyms: npt.NDArray[np.str_]
    """Keyed hashes of the sample ids."""
    request_ids: npt.NDArray[np.str_]
    shards: Indices
    slices: Indices
    hashes: Hashes
    is_patched: Mask
    """Whether the sample's shard was patched for it, and not retrained since."""

    def of_request(self, request_id: str) -> "ForgottenSamples":
        """Return the samples of one request."""
        return self._take(np.flatnonzero(self.request_ids == request_id))

    def patched(self) -> "ForgottenSamples":
        """Return the samples that are only patched."""
        return self._take(np.flatnonzero(self.is_patched))

    def with_ids(self, ids: Collection[SampleId]) -> "ForgottenSamples":
        """Return the samples with these ids. Raises RequestInvalid if one of them is not among the samples."""
        chosen = set(ids)
        rows = np.flatnonzero([sample_id in chosen for sample_id in self.table.ids.tolist()])
        if len(rows) < len(chosen):
            raise RequestInvalid(
                f"{len(chosen) - len(rows)} of the given samples are not revoked, or not by the audited requests; only "
                "forgotten samples can be audited"
            )
        return self._take(rows)

    def in_shard(self, shard: int) -> ShardSamples:
        """Return the samples of one shard."""
        rows = np.flatnonzero(self.shards == shard)
        return ShardSamples.ordered(self.table.take(rows), hashes=self.hashes[rows], slices=self.slices[rows])

    def _take(self, rows: Indices) -> "ForgottenSamples":
        return ForgottenSamples(
            receipts=self.receipts,
            table=self.table.take(rows),
            pseudonyms=self.pseudonyms[rows],
            request_ids=self.request_ids[rows],
            shards=self.shards[rows],
            slices=self.slices[rows],
            hashes=self.hashes[rows],
            is_patched=self.is_patched[rows],
        )


def find_forgotten(store: RunStore, scope: AuditScope) -> ForgottenSamples:
    """Find the samples of the audited requests in the user's file. Raises RequestInvalid, DataInvalid."""
    with closing(store.journal(is_read_only=True)) as journal:
        history = replay(journal, store.manifest)
        receipts = history.receipts.receipts()
        revoked = journal.revoked()
    audited = _audited_receipts(receipts, scope.request_ids)
    path = scope.data or store.data_file("train") or ""
    parts = [*history_parts(path, store.config.partition, history.board.extensions)]
    tables = [_as_revoked(store, _read(store, str(part.data)), revoked) for part in parts]
    table = joined_tables(tables)
    pseudonyms = np.array([_pseudonym(store, sample_id) for sample_id in table.ids.tolist()])
    request_ids = np.array([revoked.get(keyed_hash, "") for keyed_hash in pseudonyms.tolist()])
    rows = np.flatnonzero(np.isin(request_ids, [receipt.request_id for receipt in audited]))
    homes_of = [part.homes(samples, store.config.partition) for part, samples in zip(parts, tables, strict=True)]
    shards, slices = (np.concatenate(places)[rows] for places in zip(*homes_of, strict=True))
    table = table.take(rows)
    patched = {
        (receipt.request_id, part.shard)
        for receipt in audited
        for part in receipt.shards
        if part.exactness is Exactness.APPROXIMATE
    }
    homes = zip(request_ids[rows].tolist(), shards.tolist(), strict=True)
    forgotten = ForgottenSamples(
        receipts=tuple(audited),
        table=table,
        pseudonyms=pseudonyms[rows],
        request_ids=request_ids[rows],
        shards=shards,
        slices=slices,
        hashes=identity_hashes(table.ids.tolist(), seed=store.config.partition.seed, purpose="sample"),
        is_patched=np.array([home in patched for home in homes], dtype=bool),
    )
    for receipt in audited:
        _require_all(source_of(path), receipt, Counter(forgotten.of_request(receipt.request_id).shards.tolist()))
    if not scope.ids:
        return forgotten
    known = frozenset(forgotten.table.ids.tolist())
    named = as_sample_ids(scope.ids, integers=store.manifest.has_integer_ids)
    return forgotten.with_ids({spelling_in(known, sample_id) for sample_id in named})


def _pseudonym(store: RunStore, sample_id: SampleId) -> str:
    return pseudonym(identity_text("id", sample_id), store.keys.hash_key)


def _as_revoked(store: RunStore, table: SampleTable, revoked: Collection[str]) -> SampleTable:
    """Return a table whose revoked samples have the ids that the run had, of which version 0.1 kept other spellings."""
    if store.manifest.has_integer_ids:
        return table
    ids = [
        next((form for form in spellings(sample_id) if _pseudonym(store, form) in revoked), sample_id)
        for sample_id in table.ids.tolist()
    ]
    return replace(table, ids=np.array(ids, dtype=object))


def _audited_receipts(receipts: Sequence[Receipt], request_ids: Sequence[str]) -> list[Receipt]:
    """Return the receipts with these ids, or of all repaired requests. Raises RequestInvalid."""
    by_id = {receipt.request_id: receipt for receipt in receipts}
    unknown = [request_id for request_id in request_ids if request_id not in by_id]
    if unknown:
        raise RequestInvalid(f"the run has no request {unknown[0]}; leave it out to audit all requests")
    chosen = [receipt for receipt in receipts if receipt.request_id in request_ids] or list(receipts)
    if not chosen:
        raise RequestInvalid("nothing was revoked from this run; only forgotten samples can be audited")
    repaired = [receipt for receipt in chosen if receipt.published_at]
    if not repaired or (request_ids and repaired != chosen):
        waiting = next(receipt.request_id for receipt in chosen if not receipt.published_at)
        raise RequestInvalid(f"request {waiting} is accepted and not repaired yet; run `raymu settle` first")
    return repaired


def _read(store: RunStore, path: str) -> SampleTable:
    manifest = store.manifest
    try:
        table = read_table(path, store.config.data, manifest.class_table, manifest.form, is_wide=True)
    except DataInvalid as error:
        raise DataInvalid(
            path,
            f"{error.problem}; an audit needs the rows that the run destroyed: name a file of them with --training-data",
        ) from error
    require_shape(path, table.features, manifest.input_shape)
    return table


def _require_all(source: str, receipt: Receipt, samples_by_shard: Counter[int]) -> None:
    if samples_by_shard != {part.shard: part.samples for part in receipt.shards}:
        raise DataInvalid(
            source,
            f"lacks samples of request {receipt.request_id}, or has them with other owners or risks "
            f"({samples_by_shard.total()} of {receipt.samples}); the run destroyed its own rows: name the file that it was "
            "trained from with --training-data",
        )
