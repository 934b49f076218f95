"""Creates a run directory: claims a place, writes the samples and the manifest, or branches another run; and removes one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from raymu.config import Config, UnlearningConfig
from raymu.core.records import FileRef, SampleFiles, ShardLineage
from raymu.data.shard_index import COLUMNS as INDEXED
from raymu.data.shard_rows import ShardRows
from raymu.errors import RunInvalid
from raymu.store.codec import seal
from raymu.store.finished_shard import FinishedShard
from raymu.store.journal.fencing import open_journal
from raymu.store.layout import MANIFEST, UNFINISHED, is_partial, kind_of
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore
from raymu.store.stored_samples import StoredSamples, routes_writer
from raymu.store.table_format import table_bytes


def create_run(
    store: RunStore,
    manifest: RunManifest,
    shards: Iterable[FinishedShard] = (),
    *,
    held_out: pa.Table | None = None,
    base: bytes | None = None,
    is_begun: bool = False,
) -> None:
    """Write a new run. The manifest comes last, because it makes the directory a run.

    Args:
        store: Where the run is to be.
        manifest: What the run is. The names of files are added.
        shards: The shards, whose files are written: by this iterable, in any order, before it yields one.
        held_out: The samples that every shard is validated on, if the run has any.
        base: The weights that all shards begin with, if the run has any.
        is_begun: Whether `begin_run` was called for it.

    Raises RunInvalid if something else exists there, StorageFailed.
    """
    if not is_begun:
        begin_run(store)
    config, written, routes = Config.parse(manifest.config), dict[int, SampleFiles](), list[FileRef]()
    samples = StoredSamples(store.files, config)
    routing = routes_writer(config, store.keys.hash_key)
    for finished in shards:
        written[finished.shard] = finished.files
        for part in routing.add(finished.shard, finished.routed) if routing and finished.routed is not None else ():
            routes += samples.write_routes(part)
    routes += samples.write_routes(routing.routes()) if routing else ()
    copies = [written[shard] for shard in range(len(written))]
    own = None if held_out is None else store.files.write_content("held-out", ".parquet", table_bytes(held_out))
    weights = None if base is None else store.files.write_content("base", ".safetensors", base)
    _finish(
        store,
        replace(
            manifest,
            tables=tuple(files.table for files in copies),
            indexes=tuple(files.index for files in copies),
            routes=tuple(routes) if copies else None,
            held_out=own,
            base=weights,
        ),
    )


def begin_run(store: RunStore) -> None:
    """Mark the directory as that of a run which is being created, without the remains of an earlier try, and make keys.

    Raises RunInvalid if something else exists there, StorageFailed.
    """
    claim_location(store)
    store.keys.create()


def write_new_shard(store: RunStore, shard: int, rows: ShardRows | pa.Table, config: Config) -> FinishedShard:
    """Write the samples of a shard of a run that was begun. Raises StorageFailed.

    Args:
        store: The run.
        shard: The shard.
        rows: Its samples, or its table.
        config: The settings of the run.
    """
    samples, routing = StoredSamples(store.files, config), routes_writer(config, store.keys.hash_key)
    if isinstance(rows, pa.Table):
        indexed, files = rows, samples.write(shard, rows)
    else:
        indexed = rows.select(INDEXED)
        files = samples.write_placed(shard, rows)
    return FinishedShard(shard=shard, files=files, routed=None if routing is None else routing.hashes_of(indexed))


def branch_run(
    store: RunStore, location: str, lineages: Sequence[ShardLineage], unlearning: UnlearningConfig
) -> RunStore:
    """Create a run that begins with these states, and has its journal in SQLite.

    The two runs share files: what the other run destroys stays readable until its branches are removed.

    Args:
        store: The other run.
        location: Where the new run is to be.
        lineages: One state for each shard.
        unlearning: The settings of the new run.

    Raises RunInvalid if something exists there, FileMissing, FileCorrupt, StorageFailed.
    """
    cluster = replace(store.config.cluster, journal=None)
    # What is tried on a branch is not revoked for the other runs.
    config = replace(store.config, unlearning=unlearning, cluster=cluster, registry=None)
    manifest = replace(
        store.manifest,
        config=config.tree(),
        run_id=uuid4().hex,
        tables=tuple(lineage.table for lineage in lineages),
        indexes=tuple(lineage.index for lineage in lineages),
        # The routes of extensions are in the other run's journal, which the branch does not have.
        routes=None if any(lineage.added_epochs for lineage in lineages) else store.manifest.routes,
    )
    branch = RunStore(location, trust=store.trust)
    claim_location(branch)
    branch.keys.copy(store.keys)
    branch.files.adopt(store.files, {*store.shared_files, *(file for lineage in lineages for file in lineage.files)})
    _finish(branch, manifest)
    return branch


def claim_location(store: RunStore, note: bytes = b"") -> None:
    """Mark the directory as that of a run which is being created. Raises as `begin_run`.

    Args:
        store: Where the run is to be.
        note: What the mark says of it, for whoever goes on after a crash.
    """
    require_empty(store)
    store.files.write(UNFINISHED, note)
    if store.files.keeps_versions(UNFINISHED):
        store.files.delete(UNFINISHED)
        raise RunInvalid(
            store.files.display_location,
            "is in a bucket that keeps versions, so that revoked samples would stay readable; name another bucket, or "
            "suspend its versioning",
        )
    store.files.delete(*(path for path in store.files.walk() if path != UNFINISHED))  # all of them of the layout


def _finish(store: RunStore, manifest: RunManifest) -> None:
    manifest = replace(manifest, public_key=store.keys.public_key.hex())
    store.fencing.create(open_journal(store.files, store.keys, manifest))
    store.files.write(MANIFEST, seal(manifest, store.keys.hash_key))
    store.files.delete(UNFINISHED)


def require_empty(store: RunStore) -> None:
    """Raise RunInvalid unless the location is empty, or contains only the remains of an interrupted creation."""
    store.files.missing_folders()
    if store.files.exists(MANIFEST):
        problem = "holds a run already (`raymu settle` finishes an interrupted one)"
        raise RunInvalid(store.files.display_location, f"{problem}; name another directory")
    if not (store.files.is_empty or _is_unfinished(store)):
        raise RunInvalid(store.files.display_location, "is not empty; name a new directory")


def _is_unfinished(store: RunStore) -> bool:
    """True after an interrupted creation, which may have written its mark only in part."""
    paths = store.files.walk()
    is_only_mark = bool(paths) and all(path.startswith(f".{UNFINISHED}.") for path in paths)
    is_own = not store.files.irregular() and all(kind_of(path) or is_partial(path) for path in paths)
    return is_own and (UNFINISHED in paths or is_only_mark)


def remove_run(store: RunStore, folders: Iterable[Path]) -> None:
    """Destroy all files of the run, and those of the folders that are empty then. Raises StorageFailed."""
    store.files.delete_all(folders, is_own=lambda path: kind_of(path) is not None or is_partial(path))
