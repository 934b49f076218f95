"""A scenario of a run that can be restarted at any point, and its expected outcome."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from raymu.config import Config
from raymu.core.events import RequestsPurged
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet, ShardFleet
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, issued_receipts, journal_events, raw_ids_in_journal
from tests.support.examples import make_config, write_samples
from tests.support.faults import FaultyDisk, FaultyRequests


class ResumableScenario:
    """Trains, retrains for a first request, patches for a second and settles. It can be restarted at any point."""

    def __init__(self, folder: Path, **cluster: object) -> None:
        write_samples(folder / "all.parquet", samples=60)
        self.config: Config = make_config(
            folder / "all.parquet",
            model={"name": "logistic"},
            training={"epochs": 2},
            partition={"shards": 2, "slices": 2},
            cluster=cluster,
        )
        early, late = ids_at(self.config, shard=0, slice_index=0), ids_at(self.config, slice_index=1)
        self.revocations = [
            Revocation(ids=(early[0], late[-1]), strategy="sisa", key="first"),
            Revocation(ids=(early[1],), strategy="dpus", key="second"),
        ]

    def run(
        self,
        location: Path | str,
        disk: FaultyDisk | FaultyRequests,
        fleet: Callable[[RunStore], ShardFleet] = LocalFleet,
    ) -> None:
        """Run the scenario with this disk, which the fleet shares if it writes through the coordinator's store."""
        with disk.counting_commits():
            store = RunStore(str(location), disk.files(str(location)))
            if not store.files.exists("run.json"):
                replace(prepare_run(self.config, str(location)), store=store).write()
            coordinator = Coordinator(store, fleet(store))
            try:
                asyncio.run(self._revoke(coordinator))
            finally:
                asyncio.run(coordinator.close())

    def train(self, location: Path) -> None:
        prepare_run(self.config, str(location)).write()
        coordinator = Coordinator(RunStore(str(location)), LocalFleet(RunStore(str(location))))
        asyncio.run(coordinator.train(no_progress))
        asyncio.run(coordinator.close())

    async def _revoke(self, coordinator: Coordinator) -> None:
        for request in self.revocations:
            await coordinator.revoke([request], no_progress)
        await coordinator.settle(no_progress)


def outcome(location: Path | str) -> object:
    """Return what interruptions must not change: everything except times, durations and random ids."""
    store = RunStore(str(location))
    generation = store.current()
    needed = {file for lineage in generation.lineages for file in lineage.files}
    events = journal_events(location)
    return (
        generation.number,
        [
            (lineage.table, lineage.slice_samples, lineage.files, lineage.tainted_from)
            for lineage in generation.lineages
        ],
        [
            (constituent.state, constituent.checkpoint and constituent.checkpoint.file)
            for constituent in generation.constituents
        ],
        [event.kind for event in events if event.kind in ("trained", "accepted")],
        [len(event.request_ids) for event in events if isinstance(event, RequestsPurged) and event.request_ids],
        raw_ids_in_journal(location),
        store.garbage.paths(needed),
        [(receipt.exactness, receipt.samples, receipt.generation_after) for receipt in issued_receipts(location)],
        [name for name in store.files.walk() if not name.startswith("journal.sqlite-")],
    )


def files_of(location: Path) -> dict[str, bytes]:
    """Return a run's files except SQLite's log, which the last process to close the journal removes."""
    return {
        str(path.relative_to(location)): path.read_bytes()
        for path in location.rglob("*")
        if path.is_file() and not path.name.startswith("journal.sqlite-")
    }
