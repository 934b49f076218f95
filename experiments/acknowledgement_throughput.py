"""How fast are requests acknowledged, one by one and a hundred thousand at once, and what does that take?

Method: a run on 8 shards with more made-up samples than there are requests, in this process. A request is acknowledged once
it is checked and committed. First single requests with a commit each, then groups of 100 with a commit each, then the rest
as one submission, in which 10% of the rows name a sample that an earlier row names, or repeat its key, and 10% name unknown
ids. The latency of a row of the submission is the time from the call to the commit of its group. The time until the
submission is patched, published and purged is measured too. Peak memory is what the process uses beyond its memory before
the submission. `--database URL` takes PostgreSQL instead of SQLite. It takes about four minutes.

Conclusion: requests that share a commit are acknowledged many times faster. All requests that touch a shard share one remedy.
"""

import asyncio
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from experiments.harness import Experiment, document_parser, write_document
from experiments.markdown import count
from experiments.setups import write_two_classes
from raymu.config import Config
from raymu.core.events import RevocationsAccepted
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.history import replay
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore

GROUP = 100
"""Requests that share a commit."""


def submission(ids: Sequence[int], requests: int) -> list[Revocation]:
    """Return rows in random order: 80% name a sample of their own, 5% another row's, 5% repeat a row, 10% are unknown."""
    own, twice = requests * 8 // 10, requests // 20
    good = [Revocation(ids=(sample_id,), key=f"row {sample_id}") for sample_id in ids[:own]]
    same_sample = [Revocation(ids=(sample_id,)) for sample_id in ids[:twice]]
    unknown = [Revocation(ids=(-1 - number,)) for number in range(requests - own - 2 * twice)]
    rows = [*good, *same_sample, *good[:twice], *unknown]
    return [rows[index] for index in np.random.default_rng(1).permutation(len(rows))]


def measure_commits(coordinator: Coordinator, ids: Sequence[int], group: int) -> dict[str, float]:
    """Accept requests for one sample each, `group` of them with each commit. No remedy runs yet."""
    seconds = []
    for start in range(0, len(ids), group):
        requests = [Revocation(ids=(sample_id,)) for sample_id in ids[start : start + group]]
        started = time.perf_counter()
        asyncio.run(coordinator.accept(requests))
        seconds.append(time.perf_counter() - started)
    return {
        "requests": len(ids),
        "per_second": round(len(ids) / sum(seconds)),
        "median_ms": round(1000 * float(np.median(seconds)), 2),
        "p99_ms": round(1000 * float(np.quantile(seconds, 0.99)), 2),
    }


def seconds_to_commit(store: RunStore, after: float) -> list[float]:
    """Return the seconds from `after` until each group of a submission was committed.

    A group's commit lies between its own event and the next one, so this is the time of the next event.
    """
    with closing(store.journal(is_read_only=True)) as journal:
        events = [event for event in journal.events() if event.at.timestamp() >= after]
    times = [event.at.timestamp() for event in events]
    is_group = [isinstance(event, RevocationsAccepted) for event in events]
    return [later - after for later, is_accepted in zip(times[1:], is_group[:-1], strict=True) if is_accepted]


def measure_submission(store: RunStore, coordinator: Coordinator, requests: Sequence[Revocation]) -> dict[str, Any]:
    memory_before = psutil.Process().memory_info().rss
    after, started = time.time(), time.perf_counter()
    results = asyncio.run(coordinator.submit(requests, no_progress))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    latencies = seconds_to_commit(store, after)
    refusals = Counter(type(result.refusal).__name__ for result in results if result.refusal)
    return {
        "requests": len(requests),
        "accepted": len(requests) - refusals.total(),
        "refused": dict(refusals),
        "acknowledged_per_second": round(len(requests) / latencies[-1]),
        "median_s": round(float(np.median(latencies)), 2),
        "p99_s": round(float(np.quantile(latencies, 0.99)), 2),
        "purged_after_s": round(seconds, 1),
        "peak_memory_mb": round((peak - memory_before) / 1e6),
    }


def replay_seconds(store: RunStore) -> float:
    with closing(store.journal(is_read_only=True)) as journal:
        started = time.perf_counter()
        replay(journal, store.manifest)
        return round(time.perf_counter() - started, 2)


def summary(*results: Mapping[str, Any]) -> str:
    cells = []
    for result in results:
        single, many = result["single"], result["submission"]
        cells.append(
            f"{result['database']}: one by one {count(single['per_second'])} a second, 99 of 100 within "
            f"{single['p99_ms']:.1f} ms; {count(many['requests'])} at once "
            f"{count(many['acknowledged_per_second'])} a second, all purged after {many['purged_after_s']:.0f} s, "
            f"with {many['peak_memory_mb']:.0f} MB"
        )
    return "; ".join(cells)


EXPERIMENT = Experiment(
    name="acknowledgement_throughput",
    doc=__doc__,
    results=("acknowledgement_throughput-sqlite.json", "acknowledgement_throughput-postgresql.json"),
    summary=summary,
)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    parser.add_argument("--database", metavar="URL", help="a journal on PostgreSQL")
    arguments = parser.parse_args()
    requests, singles = (2_000, 50) if arguments.smoke else (100_000, 1_000)
    grouped = 20 * GROUP if arguments.smoke else 100 * GROUP
    samples = requests + singles + grouped
    with tempfile.TemporaryDirectory() as folder:
        train = Path(folder) / "train.parquet"
        write_two_classes(train, samples)
        config = Config.parse(
            {
                "data": {"train": str(train)},
                "model": {"name": "logistic"},
                "training": {"epochs": 3},
                "partition": {"shards": 8, "slices": 5},
                "unlearning": {"strategy": "dpus"},
                "cluster": {"fleet": "local", "journal": arguments.database},
            }
        )
        prepare_run(config, f"{folder}/run").write()
        store = RunStore(f"{folder}/run")
        coordinator = Coordinator(store, LocalFleet(store))
        asyncio.run(coordinator.train(no_progress))
        ids = np.random.default_rng(2).permutation(samples).tolist()
        database = "postgresql" if arguments.database else "sqlite"
        result: dict[str, Any] = {
            "database": database,
            "single": measure_commits(coordinator, ids[:singles], 1),
            f"groups_of_{GROUP}": measure_commits(coordinator, ids[singles : singles + grouped], GROUP),
            "submission": measure_submission(store, coordinator, submission(ids[singles + grouped :], requests)),
            "replay_s": replay_seconds(store),
        }
        asyncio.run(coordinator.close())
    write_document(f"{EXPERIMENT.name}-{database}.json", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
