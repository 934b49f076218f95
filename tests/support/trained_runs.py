"""Trained runs for tests of other subjects: trained once in a process, and copied for each test."""

import asyncio
import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raymu.config import Config
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.service.coordinator.calls import SettleResult
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.shard.fleet import LocalFleet, ShardFleet
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at
from tests.support.examples import create_run, make_config, repaired_weights, revoke, write_samples


class TrainedRun:
    """A test's own copy of a trained run. Its coordinator works in this process, and opens with the first call."""

    def __init__(self, config: Config, location: Path) -> None:
        self.config, self.location = config, location

    @property
    def store(self) -> RunStore:
        return RunStore(str(self.location))

    @cached_property
    def coordinator(self) -> Coordinator:
        return self.open()

    def open(self, fleet: ShardFleet | None = None) -> Coordinator:
        """Take the run over with a new coordinator, by default over a local fleet."""
        return Coordinator(self.store, fleet or LocalFleet(self.store))

    def ids(self, *, shard: int | None = None, slice_index: int | None = None) -> list[SampleId]:
        """Ids of the samples of a shard, of a slice, or of a slice of a shard."""
        return ids_at(self.config, shard=shard, slice_index=slice_index)

    def revoke(self, ids: Sequence[SampleId] = (), **request: Any) -> Receipt:
        return revoke(self.coordinator, ids, **request)

    def settle(self) -> SettleResult:
        return asyncio.run(self.coordinator.settle(no_progress))

    @property
    def weights(self) -> dict[int, str]:
        """The hash of each shard's repaired weights."""
        return repaired_weights(self.location)


TrainedRunFactory = Callable[..., TrainedRun]


class RunTemplates:
    """Trains a run once for each configuration and data set, and copies it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy(self, location: Path, *, samples: Mapping[str, Any] | None = None, **branches: Any) -> TrainedRun:
        """Copy a trained run.

        Args:
            location: path of the copy
            samples: arguments of `write_samples`
            branches: settings of `make_config`
        """
        name = sha256(json.dumps([samples, branches], sort_keys=True).encode()).hexdigest()[:16]
        folder = self._folder / name
        config = make_config(folder / "all.parquet", **branches)
        if not folder.exists():
            folder.mkdir()
            write_samples(folder / "all.parquet", **(samples or {}))
            create_run(config, folder / "run")
        return TrainedRun(config, Path(shutil.copytree(folder / "run", location)))


def weights_without(config: Config, ids: Collection[SampleId]) -> dict[int, str]:
    """Train from scratch without some samples. Returns the hash of each shard's weights."""
    return _weights_without(json.dumps(config.tree(), sort_keys=True), frozenset(ids))


@cache
def _weights_without(config: str, ids: frozenset[SampleId]) -> dict[int, str]:
    with TemporaryDirectory() as folder:
        location = Path(folder) / "run"
        create_run(Config.parse(json.loads(config)), location, exclude=ids)
        return repaired_weights(location)
