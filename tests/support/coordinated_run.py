"""What the tests of the service examine in a run."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from raymu.config import Config
from raymu.core.events import Event
from raymu.core.partition import identity_hashes
from raymu.core.receipt import Receipt
from raymu.core.records import CheckpointRef, Constituent, SampleId, ShardLineage
from raymu.data.tables import read_table
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.history_parts import sample_homes
from raymu.service.shard.fleet import LocalFleet, ShardFleet
from raymu.store.receipts import check_receipts
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.spec import TrainingSpec
from tests.support.examples import revoke, settle

Home = tuple[SampleId, int, int]


def homes(config: Config) -> list[Home]:
    """Return (sample id, shard, slice) of every sample."""
    table = read_table(config.data.train, config.data)
    shards, slices = sample_homes(table, config.partition)
    return list(zip(table.ids.tolist(), shards.tolist(), slices.tolist(), strict=True))


def ids_at(config: Config, *, shard: int | None = None, slice_index: int | None = None) -> list[SampleId]:
    """Ids of a shard, of a slice, or of a slice of a shard."""
    return [
        sample_id
        for sample_id, home_shard, position in homes(config)
        if shard in (None, home_shard) and slice_index in (None, position)
    ]


def write_images(path: Path, *, samples: int = 120, without: Sequence[SampleId] = (), shuffle: int = 0) -> None:
    """8-bit images of 4x4 in two classes: bright above, or bright below."""
    random = np.random.default_rng(11)
    labels = np.arange(samples) % 2
    images = random.integers(0, 120, (samples, 4, 4))
    images[labels == 0, :2] += 100
    images[labels == 1, 2:] += 100
    features = pa.FixedSizeListArray.from_arrays(pa.array(images.astype(np.uint8).reshape(-1)), 16)
    table = pa.table({"id": np.arange(samples), "label": labels, "features": features})
    kept = np.flatnonzero(~np.isin(np.arange(samples), list(without)))
    pq.write_table(table.take(np.random.default_rng(shuffle).permutation(kept)), path)


def lineage_of(location: Path | str, shard: int) -> ShardLineage:
    return RunStore(str(location)).current().lineages[shard]


def constituent_of(location: Path | str, shard: int) -> Constituent:
    return RunStore(str(location)).current().constituents[shard]


def restored(location: Path | str, checkpoint: CheckpointRef) -> Classifier:
    """The model of a checkpoint, on the CPU."""
    store = RunStore(str(location))
    plan = TrainingSpec.of(store.config, input_shape=store.manifest.input_shape, classes=store.manifest.classes)
    payload = store.files.read_checked(checkpoint.file)
    return Classifier.restore(payload, plan, device=torch.device("cpu"), source=checkpoint.file.path)


def samples_of(config: Config, ids: list[SampleId]) -> ShardSamples:
    """Return samples of the training file, as a shard's table has them."""
    table = read_table(config.data.train, config.data)
    _, slices = sample_homes(table, config.partition)
    rows = np.flatnonzero(np.isin(table.ids, ids))
    hashes = identity_hashes(table.ids[rows].tolist(), seed=config.partition.seed, purpose="sample")
    return ShardSamples.ordered(table.take(rows), hashes=hashes, slices=slices[rows])


def samples_by_fit(config: Config, location: Path) -> list[SampleId]:
    """Return shard 0's samples, ordered by how much more probable their class is to its model than to shard 1's."""
    table = read_table(config.data.train, config.data)
    rows = np.flatnonzero(np.isin(table.ids, ids_at(config, shard=0)))
    own, other = (restored(location, lineage_of(location, shard).serving) for shard in (0, 1))
    gains = own.probabilities(table.features[rows]) - other.probabilities(table.features[rows])
    order = gains[np.arange(len(rows)), table.labels[rows]].argsort()
    return table.ids[rows[order]].tolist()


def weights_of(location: Path | str, shard: int) -> torch.Tensor:
    """Return the repaired weights, shape (parameters,), float32."""
    serving = restored(location, lineage_of(location, shard).serving)
    return torch.nn.utils.parameters_to_vector(serving.model.parameters()).detach()


def journal_events(location: Path | str) -> list[Event]:
    journal = RunStore(str(location)).journal()
    try:
        return list(journal.events())
    finally:
        journal.close()


def issued_receipts(location: Path | str) -> list[Receipt]:
    """Return the receipts of a run, checked."""
    store = RunStore(str(location))
    with closing(store.journal(is_read_only=True)) as journal:
        rows = check_receipts(journal.receipt_rows(), run=store.manifest.run_id, public_key=store.keys.public_key)
        return [receipt for _, receipt in rows]


def history_of(location: Path) -> tuple[int, int, list[str]]:
    """Return the journal's events, the current generation and every file. A refused request changes none of them.

    The two files that SQLite keeps beside a journal while it is open are left out.
    """
    events, generation = len(journal_events(location)), RunStore(str(location)).current().number
    paths = [path for path in location.rglob("*") if not path.name.endswith(("-wal", "-shm"))]
    return events, generation, sorted(str(path.relative_to(location)) for path in paths)


def state_files(location: Path, shard: int) -> set[str]:
    """Return the paths, within the run, of a shard's samples, checkpoints and recorded updates on disk."""
    paths = [*(location / "shards" / f"{shard:04d}").iterdir(), *(location / "samples").glob(f"{shard:04d}-*")]
    return {str(path.relative_to(location)) for path in paths}


def traces(location: Path, marker: str) -> set[str]:
    """Return the files of a run that contain a marker, in their bytes or, for Parquet, unpacked."""
    names = set()
    for path in location.rglob("*"):
        if path.is_file():
            unpacked = str(pq.read_table(path).to_pydict()) if path.suffix == ".parquet" else ""
            if marker.encode() in path.read_bytes() or marker in unpacked:
                names.add(path.name)
    return names


def raw_ids_in_journal(location: Path | str) -> int:
    store = RunStore(str(location))
    with closing(store.journal(is_read_only=True)) as journal:
        shards = range(store.config.partition.shards)
        return sum(len(ids) for shard in shards for ids in journal.raw_ids_of_shard(shard).values())


async def until_nothing_moves() -> None:
    """Wait until every task waits for something that a test controls."""
    for _ in range(50):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)  # a thread may read for a task
    for _ in range(50):
        await asyncio.sleep(0)


class OpenedRun:
    """A run with its coordinator, for synchronous calls."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator

    def revoke(self, ids: Sequence[SampleId], **fields: Any) -> Receipt:
        return revoke(self.coordinator, ids, **fields)

    def settle(self) -> None:
        settle(self.coordinator)


@contextmanager
def opened(location: Path | str | RunStore, fleet: ShardFleet | None = None, **options: Any) -> Iterator[OpenedRun]:
    """Take a run over for the length of a context."""
    store = location if isinstance(location, RunStore) else RunStore(str(location))
    coordinator = Coordinator(store, fleet or LocalFleet(store), **options)
    try:
        yield OpenedRun(coordinator)
    finally:
        asyncio.run(coordinator.close())
