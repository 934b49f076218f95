"""Restores the samples of a shard from a copy, in the run or of the user."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from raymu.config.data import NormalizeSetting
from raymu.core.records import SampleFiles, ShardLineage
from raymu.data.columns import features_of_first_version, kept_features
from raymu.data.frames import TableData, source_of
from raymu.data.rows import Columns, Rows
from raymu.data.run_table import in_types_of
from raymu.data.tables import read_table
from raymu.errors import DataInvalid, SamplesLost
from raymu.service.coordinator.damage import Damage
from raymu.service.history_parts import HistoryPart, history_parts
from raymu.service.pseudonyms import identity_text, pseudonym
from raymu.service.shard_tables import shard_tables
from raymu.store.layout import pyarrow_version, pyarrow_version_of
from raymu.store.run import RunStore


def restore_samples(
    store: RunStore,
    damage: Damage,
    *,
    revoked: Mapping[str, str],
    data: TableData | None,
    extensions: Sequence[int] = (),
) -> None:
    """Write a shard's table again, from an earlier copy in the run or from the user's data, without revoked samples.

    Its index is made again of the table.

    A table counts only if it has the hash that the journal names.

    Args:
        store: The run.
        damage: The damage of one shard.
        revoked: Pseudonym -> request.
        data: The files or the table that the run was trained from. Files of each extension follow.
        extensions: The number of slices of each extension of the run.

    Raises:
        SamplesLost: No copy has the samples.
        DataInvalid: The file cannot be read, or has no sample of the shard.
    """
    lineage = damage.lineage
    if lineage.table not in damage.files:
        _restore_index(store, lineage)
        return
    for table in _sources(store, lineage.shard, data, extensions):
        texts = [identity_text("id", sample_id) for sample_id in table["id"].to_pylist()]
        names = [pseudonym(text, store.keys.hash_key) for text in texts]
        kept = table.filter(pa.array([name not in revoked for name in names], type=pa.bool_()))
        if store.samples.restore_table(lineage.table, kept):
            if lineage.index in damage.files:
                _restore_index(store, lineage)
            return
    writer = pyarrow_version_of(lineage.table.path)
    raise SamplesLost(lineage.shard, None if writer == pyarrow_version() else writer)


def _restore_index(store: RunStore, lineage: ShardLineage) -> None:
    """Make the index of a shard's table again. Raises SamplesLost if another version of pyarrow wrote it in other bytes."""
    index = store.samples.read_index(SampleFiles(table=lineage.table, index=None))
    if store.samples.write_index(lineage.shard, index) != lineage.index:
        raise SamplesLost(lineage.shard, pyarrow_version_of(lineage.table.path))


def _sources(store: RunStore, shard: int, data: TableData | None, extensions: Sequence[int]) -> Iterator[pa.Table]:
    """Yield tables with the samples of a shard, which may contain samples revoked since."""
    yield from store.samples.readable_tables(shard)
    if data is None:
        return
    trained, *added = history_parts(data, store.config.partition, extensions)
    for table in _tables_of(store, shard, trained):
        if not added:
            yield table
            continue
        later = [
            in_types_of(source_of(part.data), next(_tables_of(store, shard, part)), table.schema) for part in added
        ]
        yield pa.concat_tables([table, *later]).combine_chunks()


def _tables_of(store: RunStore, shard: int, part: HistoryPart) -> Iterator[pa.Table]:
    """Yield the forms in which a run may have kept one part of a shard's samples."""
    config, manifest = store.config, store.manifest
    for is_verbatim in (False, True):
        samples = read_table(
            part.data, config.data, manifest.class_table, manifest.form, is_wide=True, is_verbatim=is_verbatim
        )
        shards, slices = part.homes(samples, config.partition)
        if not part.first and not (shards == shard).any():
            raise DataInvalid(
                source_of(part.data), f"holds no sample of shard {shard}; name the file that the run was trained from"
            )
        for features in _kept_forms(samples.features, config.data.normalize):
            yield list(shard_tables(replace(samples, features=features), shards, slices, config.partition))[shard]


def _kept_forms(features: Rows, normalize: NormalizeSetting) -> tuple[Rows, ...]:
    """Return the forms in which a run may have kept features: versions differ in the types of arrays."""
    if isinstance(features, Columns):
        return (features,)
    return kept_features(features, normalize), features_of_first_version(features)
