"""Golden journals: written by a version of raymu. Every later version must read them and replay them to the same state.

`python -m tests.support.golden_journals NAME CONTENT` writes tests/golden/NAME as the present version has it. Once committed
one is never written again: where the format grows, another is put beside it.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Boundary
from raymu.core.events import DamageFound
from raymu.core.records import SampleId
from raymu.errors import ShardRepairFailed
from raymu.service.coordinator.coordinator import utc_now
from raymu.service.extension import Extension
from raymu.service.history import replay
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import no_progress
from raymu.store.codec import canonical_json, to_tree
from raymu.store.journal.journal import Journal
from raymu.store.journal.tables import TABLES
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, opened
from tests.support.examples import create_run, make_config, write_samples
from tests.support.scripted_fleet import ScriptedFleet

GOLDEN = Path(__file__).parents[1] / "golden"
_KEPT = ("run.json", "hash.key", "signing.pub")


def state_of(journal: Journal, store: RunStore) -> dict[str, Any]:
    """Return the state that a journal is replayed to, as JSON values."""
    history = replay(journal, store.manifest)
    shards = range(store.config.partition.shards)
    return {
        "lineages": [to_tree(lineage) for lineage in history.board.lineages],
        "receipts": [to_tree(receipt) for receipt in history.receipts.receipts()],
        "open_requests": list(history.board.open_requests),
        "at_work": [command.command_id for command in history.board.repairs],
        "keys": {key: request.request_id for key, request in history.requests_by_key.items()},
        "sample_ids": {
            request_id: sorted(ids, key=str)
            for shard in shards
            for request_id, ids in sorted(journal.raw_ids_of_shard(shard).items())
        },
        "revoked": journal.revoked(),
    }


def dump(location: Path, folder: Path) -> None:
    """Return a run's journal as text: a line for each row of each table, and the replayed state."""
    folder.mkdir(parents=True)
    for name in _KEPT:
        shutil.copyfile(location / name, folder / name)
    store = RunStore(str(location))
    with closing(store.journal(is_read_only=True)) as journal:
        (folder / "state.json").write_text(json.dumps(state_of(journal, store), indent=1, sort_keys=True) + "\n")
    engine = sql.create_engine(f"sqlite:///{location / 'journal.sqlite'}")
    with engine.connect() as connection, (folder / "journal.jsonl").open("wb") as file:
        for table in TABLES.sorted_tables:
            for row in connection.execute(sql.select(table).order_by(*table.primary_key)).mappings():
                file.write(canonical_json({"table": table.name, "row": dict(row)}) + b"\n")
    engine.dispose()


def restore(folder: Path, location: Path) -> RunStore:
    """Restore a run that has only its journal and the keys to read it."""
    location.mkdir()
    for name in _KEPT:
        shutil.copyfile(folder / name, location / name)
    engine = sql.create_engine(f"sqlite:///{location / 'journal.sqlite'}")
    with engine.begin() as connection:
        TABLES.create_all(connection)
        for line in (folder / "journal.jsonl").read_text().splitlines():
            kept = json.loads(line)
            table = TABLES.tables[kept["table"]]
            row = {column.key: kept["row"][column.name] for column in table.columns}
            connection.execute(table.insert(), row)
    engine.dispose()
    return RunStore(str(location))


def live(folder: Path) -> None:
    """Write a run with every kind of event and an unfinished request."""
    table = write_samples(folder / "all.parquet", samples=60, text_ids=True, owners=20)
    config = make_config(
        Path("all.parquet"),
        model={"name": "logistic"},
        training={"epochs": 2},
        data={"owner": "owner", "test": "all.parquet", "track_accuracy": True},
        partition={"shards": 2, "slices": 2},
    )
    location = folder / "run"
    create_run(config, location)
    owned = {row["id"] for row in table.to_pylist() if row["owner"] == "owner-3"}
    early, late = (
        [sample_id for sample_id in ids_at(config, slice_index=position) if sample_id not in owned]
        for position in (0, 1)
    )
    with opened(location) as run:
        asyncio.run(run.coordinator.configure(UnlearningConfig(boundary=Boundary.parse(0.5))))
    with opened(location) as run:
        run.revoke(late[:2], strategy="dpus", key="order 1")
        run.revoke([], owner="owner-3", strategy="ohs", boundary=0.0)
        asyncio.run(
            run.coordinator.submit([_single(sample_id) for sample_id in late[2:5]] + [_single("nobody")], no_progress)
        )
        run.settle()
    _lose_a_checkpoint(RunStore(str(location)))
    with opened(location) as run:
        run.settle()
        old = [f"sample-{number}" for number in range(60)]
        write_samples(folder / "more.parquet", samples=72, without=old, text_ids=True, owners=20)
        extension = Extension(data="more.parquet", epochs=1, ignore_revoked=True)
        asyncio.run(run.coordinator.extend(extension, no_progress))
        run.revoke(late[5:6], strategy="dpus", boundary="deadline:60s")
    with opened(location, ScriptedFleet(RunStore(str(location)), fail_after=0)) as run, suppress(ShardRepairFailed):
        run.revoke(early[:3], strategy="sisa", key="order 2")


def group(folder: Path) -> None:
    """Write a run with a group of deletions that grew large enough, one that was released early, and one that waits."""
    write_samples(folder / "all.parquet", samples=60, text_ids=True)
    config = make_config(
        Path("all.parquet"),
        model={"name": "logistic"},
        training={"epochs": 2},
        partition={"shards": 2, "slices": 2},
        unlearning={"publish": {"at_least": 2, "every": "30d"}},
    )
    location = folder / "run"
    create_run(config, location)
    first, second, third, last = ids_at(config, slice_index=1)[:4]
    with opened(location) as run:
        run.revoke([first], strategy="sisa")
        run.revoke([second], strategy="sisa")
        run.revoke([third], strategy="sisa")
        asyncio.run(run.coordinator.settle(no_progress, publish=True))
        run.revoke([last], strategy="sisa")


def _single(sample_id: SampleId) -> Revocation:
    return Revocation(ids=(sample_id,), strategy="sisa", key=f"row {sample_id}")


def _lose_a_checkpoint(store: RunStore) -> None:
    journal, term = store.take_over()
    journal.append(DamageFound(at=utc_now(), first_stages={0: 1}))
    store.fencing.release(journal, term)


CONTENTS = {"live": live, "group": group}
"""What a golden journal can hold."""


def main() -> None:
    name, content = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that no path of this machine gets into the run
        CONTENTS[content](Path(folder))
        dump(Path(folder) / "run", GOLDEN / name)


if __name__ == "__main__":
    main()
