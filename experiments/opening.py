"""How do the time and the memory of opening a run, and of leaving it, grow with the requests that are done?

Method: a run of 8 shards and 5 slices with a logistic model is trained. Then made-up requests for one sample are committed
to its journal as a coordinator does: each is accepted, rewound, repaired, published and purged, and has a signed
receipt. After 10 to 100,000 of them, one process reads the status of the run, and another takes it over as a coordinator
does. Each of them opens the run from the newest snapshot and the 125 events after it. Up to 10,000 requests, a third one
takes the run over, commits one more request and leaves the run, which seals its journal: by the hashes of those parts of a
file of 16 MiB or more that have changed. The leaving alone is measured. All of them do it once more as earlier versions did:
without any snapshot, and with the hash of the whole journal. CPU time, wall time, and peak memory above the imports. The rows
of the leaving are of a run of their own, on a busier machine.

Conclusion: opening a run reads one snapshot and at most a few hundred events, however many requests are done. Leaving it
hashes what one request has changed, once the journal is long.
"""

import asyncio
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.markdown import count
from experiments.plots import legend, logarithmic_x, logarithmic_y, look, panels
from experiments.process_memory import peak_bytes
from experiments.setups import write_two_classes
from raymu.config import Config
from raymu.config.unlearning import Boundary, Strategy
from raymu.core.commands import Command, PublishGeneration, Purge, RepairReport, RepairShard
from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted, ShardRepaired
from raymu.core.records import CheckpointRef, FileRef, Generation, ShardLineage
from raymu.core.requests import ForgetSet, RevocationRequest
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.history import open_history, snapshot_size
from raymu.service.ingest import prepare_run
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.service.snapshot import ReplayCost, to_payload
from raymu.service.status import status
from raymu.store import run as run_module
from raymu.store.journal import file_seal
from raymu.store.journal.fencing import Fencing
from raymu.store.journal.journal import Journal
from raymu.store.journal.transaction import Transaction
from raymu.store.receipts import sign_receipts
from raymu.store.run import RunStore

REQUESTS, SMOKE_REQUESTS = (10, 100, 1_000, 10_000, 100_000), (20, 60)
MOST_FROM_ALL_EVENTS = 10_000
"""Requests up to which the run is also opened from all events, and left."""
SHARDS, SLICES = 8, 5
GROUP, LAST = 1_000, 25
"""Most requests of one transaction here, which saves time, and the last ones, which no snapshot covers. Their events are
those of requests that came one by one."""
WHAT = {"status": "status", "takeover": "takeover", "seal": "leaving"}
HOW = {"snapshot": "from a snapshot", "all events": "from all events"}
HOW_SEALED = {"snapshot": "by changed parts", "all events": "by the whole file"}


class MadeUpRequests:
    """Commits requests and all that follows from them, without training anything."""

    def __init__(self, store: RunStore) -> None:
        self.store, self.number, self.since, self.is_last = store, 0, ReplayCost(), True
        self.journal, self.term = store.take_over()
        history = open_history(store, self.journal)
        self.board, self.receipts, self.published = history.board, history.receipts, history.published
        self.now = datetime.now(UTC)

    def commit(self, requests: int) -> None:
        """Commit some requests in one transaction."""
        with self.journal.writing() as transaction:
            for left in reversed(range(requests)):
                self.is_last = left == 0
                self._commit_one(transaction)
        if self.since.is_due(size=snapshot_size(self.board, self.receipts)):
            history = open_history(self.store, self.journal)
            with self.journal.writing() as transaction:
                payload = to_payload(history.snapshot(transaction.last_receipt()))
                transaction.save_snapshot(transaction.head, payload)
            self.since = ReplayCost()

    def close(self) -> None:
        self.store.fencing.release(self.journal, self.term)

    def _commit_one(self, transaction: Transaction) -> None:
        self.number += 1
        self.now += timedelta(seconds=1)
        shard, name = self.number % SHARDS, f"made-up-{self.number:09d}"
        request = RevocationRequest(
            request_id=name,
            payload_sha256=_digest(name),
            key=_digest(f"key {name}"),
            strategy=Strategy.SISA,
            boundary=Boundary.parse(0.5),
            received_at=self.now,
            due_at=self.now + timedelta(days=30),
            forget=(ForgetSet(shard=shard, samples_by_slice={self.number % SLICES: 1}),),
            hashes=(_digest(f"id {name}"),),
        )
        generation = self.published.number if self.published else 0
        event = RevocationsAccepted(at=self.now, requests=(request,), generation=generation)
        transaction.add(event)
        transaction.add_ids({name: {shard: [self.number]}}, {name: request.hashes})
        self._apply(transaction, event)

    def _apply(self, transaction: Transaction, event: Event) -> None:
        self.since.add(event)
        self.receipts.handle(event)
        for command in self.board.handle(event):
            self._execute(transaction, command)

    def _execute(self, transaction: Transaction, command: Command) -> None:
        match command:
            case RepairShard():
                repaired = ShardRepaired(at=self.now, report=_report(command, self.number))
                transaction.add(repaired)
                self._apply(transaction, repaired)
            case PublishGeneration():
                self._publish(transaction, command)
            case Purge():
                files = tuple(sorted(command.files, key=lambda file: file.path))
                purged = RequestsPurged(at=self.now, request_ids=command.request_ids, files=files, rows=command.rows)
                rows = sign_receipts(
                    self.receipts.completed_by(purged),
                    after=transaction.last_receipt(),
                    run=self.store.manifest.run_id,
                    event=transaction.purge(purged).sequence,
                    signing_key=self.store.keys.signing_key,
                )
                transaction.add_receipts(rows)
                self._apply(transaction, purged)

    def _publish(self, transaction: Transaction, command: PublishGeneration) -> None:
        assert self.published, "the run is trained"
        generation = Generation(
            number=self.published.number + 1,
            previous_sha256=self.published.manifest_sha256,
            cause=command.cause,
            request_ids=(*command.rewound, *command.repaired, *command.settled),
            published_at=self.now,
            constituents=command.constituents,
            lineages=command.lineages,
        )
        is_written = self.is_last  # the file of any other generation would be deleted at once
        file = self.store.generations.write(generation) if is_written else None
        self.published = GenerationPublished(
            at=self.now,
            number=generation.number,
            manifest_sha256=file.sha256 if file else _digest(f"generation {generation.number}"),
            rewound=command.rewound,
            repaired=command.repaired,
            settled=command.settled,
        )
        if is_written:
            self.store.generations.delete_except(generation.number)
        transaction.add(self.published)
        self._apply(transaction, self.published)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _report(command: RepairShard, number: int) -> RepairReport:
    """Return the report of a retraining that wrote new files."""
    lineage: ShardLineage = command.lineage
    first = command.earliest_slice

    def new(file: FileRef) -> FileRef:
        return replace(file, path=f"{file.path[:20]}-{number}", sha256=_digest(f"{file.path} {number}"))

    checkpoints = tuple(
        CheckpointRef(stage=ref.stage, file=new(ref.file), weights_sha256=_digest(str(number)), descent=ref.descent)
        for ref in lineage.checkpoints[first:]
        if ref
    )
    retrained = lineage.retrained(
        table=new(lineage.table),
        slice_samples=lineage.slice_samples,
        checkpoints=checkpoints,
        updates=lineage.updates[first:],
        seconds_per_pass=lineage.seconds_per_pass,
    )
    return RepairReport(
        command_id=command.command_id,
        remedy=command.decision.remedy,
        reason=command.decision.reason,
        determinism='{"device":"cpu","threads":1}',
        passes=command.decision.passes,
        seconds=max(command.decision.seconds, 1e-6),
        request_ids=command.request_ids,
        planned=command.decision,
        lineage=retrained,
    )


def measure(options: Options) -> list[Row]:
    return [*_measure(SMOKE_REQUESTS if options.is_smoke else REQUESTS)]


def _measure(sizes: tuple[int, ...]) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        write_two_classes(Path(folder) / "samples.parquet", SHARDS * 200)
        config = Config.parse(
            {
                "data": {"train": f"{folder}/samples.parquet"},
                "model": {"name": "logistic"},
                "training": {"epochs": 3},
                "partition": {"shards": SHARDS, "slices": SLICES},
                "unlearning": {"strategy": "sisa"},
                "cluster": {"fleet": "local"},
            }
        )
        prepare_run(config, f"{folder}/run").write()
        coordinator = Coordinator(store := RunStore(f"{folder}/run"), LocalFleet(store))
        asyncio.run(coordinator.train(no_progress))
        asyncio.run(coordinator.close())
        done, more = 0, 0
        for size in sizes:
            made_up = MadeUpRequests(RunStore(f"{folder}/run"))
            made_up.number = done + more
            while done < size:
                number = min(GROUP, size - done - LAST) if size - done > LAST else size - done
                made_up.commit(number)
                done += number
            made_up.close()
            journal_mb = (Path(folder) / "run" / "journal.sqlite").stat().st_size / 1e6
            for what in WHAT if size <= MOST_FROM_ALL_EVENTS else ("status", "takeover"):
                for how in [*HOW][: 2 if size <= MOST_FROM_ALL_EVENTS else 1]:
                    more += what == "seal"
                    usage = _in_own_process(f"{folder}/run", what, how, done + more)
                    row = {"requests": size, "what": what, "how": how, "journal_mb": journal_mb, **usage}
                    print(row, file=sys.stderr)
                    yield row


def _in_own_process(location: str, what: str, how: str, number: int) -> Row:
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_open, args=(location, what, how, number, sender))
    process.start()
    usage: Row = receiver.recv()
    process.join()
    return usage


def _open(location: str, what: str, how: str, number: int, sender: Any) -> None:
    work = _left_after_one(location, how, number) if what == "seal" else _opened(location, what, how)
    before, cpu, started = peak_bytes() / 1e6, time.process_time(), time.perf_counter()
    work()
    usage = {"cpu_s": time.process_time() - cpu, "seconds": time.perf_counter() - started}
    sender.send({**usage, "memory_mb": peak_bytes() / 1e6 - before})


def _opened(location: str, what: str, how: str) -> Callable[[], object]:
    if how == "all events":
        Journal.snapshot = lambda _journal: None  # type: ignore[method-assign,assignment]
        run_module.MOST_HASHED_ON_OPENING = 2**60
    store = RunStore(location)
    return (lambda: status(store)) if what == "status" else (lambda: Coordinator(store, LocalFleet(store)))


def _left_after_one(location: str, how: str, number: int) -> Callable[[], object]:
    """Take a run over that was closed, and commit one more request of this number. Returns what leaves the run."""
    if how == "all events":
        Fencing._known_parts = lambda *_: None  # type: ignore[method-assign]
        file_seal.DIVIDED_FROM_BYTES = 2**60
    MadeUpRequests(RunStore(location)).close()
    made_up = MadeUpRequests(RunStore(location))
    made_up.number = number - 1
    made_up.commit(1)
    return made_up.close


def summary(rows: pd.DataFrame) -> str:
    usages = rows.set_index(["requests", "what", "how"])
    most = rows.loc[rows["how"] == "all events", "requests"].max()
    sizes = ((rows["requests"].min(), "snapshot"), (most, "all events"), (rows["requests"].max(), "snapshot"))
    cells = []
    for requests, how in sizes:
        parts = [
            f"{what} {usages.loc[(requests, what, how)]['cpu_s']:.2f} s of CPU time and "
            f"{usages.loc[(requests, what, how)]['memory_mb']:.0f} MB"
            for what in ("status", "takeover")
        ]
        cells.append(f"{count(int(requests))} requests, {HOW[how]}: {', '.join(parts)}")
    left = ", ".join(f"{usages.loc[(most, 'seal', how)]['cpu_s']:.3f} s {HOW_SEALED[how]}" for how in HOW_SEALED)
    return "; ".join([*cells, f"leaving after {count(int(most))} requests and one more: {left}"])


def draw(rows: pd.DataFrame) -> Figure:
    figure, (seconds, memory) = panels(1, 2, width=4.0)
    for index, (what, how) in enumerate((what, how) for what in WHAT for how in HOW):
        line = rows[(rows["what"] == what) & (rows["how"] == how)]
        ways = HOW_SEALED if what == "seal" else HOW
        label = {"label": f"{WHAT[what]}, {ways[how]}", **look(how, index)}
        seconds.plot(line["requests"], line["cpu_s"], **label)
        memory.plot(line["requests"], line["memory_mb"], **label)
    for axes, text in ((seconds, "CPU time, s"), (memory, "memory, MB")):
        logarithmic_x(axes, sorted(rows["requests"].unique()))
        logarithmic_y(axes)
        axes.set_xlabel("requests that are done")
        axes.set_ylabel(text)
    legend(figure, [seconds])
    return figure


EXPERIMENT = Experiment(
    name="opening", doc=__doc__, results=("opening.csv",), summary=summary, figures={"opening": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
