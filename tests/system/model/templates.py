"""Runs that examples begin with: created once for each configuration, and copied for each example."""

import asyncio
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pyarrow as pa
import pyarrow.parquet as pq

from raymu.core.partition import identity_hashes
from raymu.core.records import SampleId
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.pseudonyms import identity_text, pseudonym
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore
from tests.support.coordinated_run import homes
from tests.support.examples import make_config, write_samples
from tests.system.model.traced_training import Stages, traced

SAMPLES, SHARDS, SLICES = 36, 3, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """The settings that examples vary. `is_trained` says whether the run is trained at the beginning.

    `is_grouped`: whether repaired shards return in groups of two requests. Groups never wait long enough otherwise.
    """

    on_accept: str
    remedy: str
    contributions: str
    is_trained: bool
    is_grouped: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSample:
    """A sample. `identity` is the hash in its order and in states, `keyed` the one in receipts and the journal."""

    sample_id: SampleId
    shard: int
    slice_index: int
    identity: int
    keyed: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    location: Path
    data: Path
    samples: tuple[ModelSample, ...]

    def copy(self, location: Path) -> Path:
        return Path(shutil.copytree(self.location, location))


@cache
def template(setting: Setting, work_folder: Path) -> Template:
    """Return a template. `work_folder` is for templates and their copies."""
    folder = Path(mkdtemp(dir=work_folder))
    write_subjects(folder / "all.parquet")
    config = make_config(
        folder / "all.parquet",
        model={"name": "logistic"},
        training={"epochs": 2},
        partition={"shards": SHARDS, "slices": SLICES},
        unlearning={
            "on_accept": setting.on_accept,
            "ohs": {"remedy": setting.remedy},
            "contributions": setting.contributions,
            "groups_per_slice": 2 if setting.contributions == "group" else None,
            "publish": {"at_least": 2, "every": "1h"} if setting.is_grouped else None,
        },
    )
    prepare_run(config, str(folder / "run")).write()
    store = RunStore(str(folder / "run"))
    if setting.is_trained:
        with traced():
            coordinator = Coordinator(store, LocalFleet(store))
            asyncio.run(coordinator.train(no_progress))
        asyncio.run(coordinator.close())
    placed = homes(config)
    identities = identity_hashes(
        (sample_id for sample_id, _, _ in placed), seed=config.partition.seed, purpose="sample"
    ).tolist()
    return Template(
        location=folder / "run",
        data=folder / "all.parquet",
        samples=tuple(
            ModelSample(
                sample_id=sample_id,
                shard=shard,
                slice_index=slice_index,
                identity=identity,
                keyed=pseudonym(identity_text("id", sample_id), store.keys.hash_key),
            )
            for (sample_id, shard, slice_index), identity in zip(placed, identities, strict=True)
        ),
    )


def write_subjects(path: Path) -> None:
    """Write samples whose ids can be searched for: no id is part of another."""
    table = write_samples(path, samples=SAMPLES)
    pq.write_table(table.set_column(0, "id", pa.array([f"subject-{number:04d}" for number in range(SAMPLES)])), path)


def trained_on(samples: Iterable[ModelSample], *, shard: int) -> Stages:
    """Return what training a shard on these samples leaves, stage by stage."""
    own = sorted((sample.slice_index, sample.identity) for sample in samples if sample.shard == shard)
    return [[identity for slice_index, identity in own if slice_index <= stage] for stage in range(SLICES)]
