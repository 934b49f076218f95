"""How fast are requests acknowledged, one by one and a hundred thousand at once, and what does that take?

Method: a run of one sample per request and some to spare, made up, on 8 shards, in this process. A request is acknowledged
once it is judged and its commit is through: single requests, one commit each; groups of 100, one commit each; then the
rest as one submission, 10% of it naming a sample that an earlier row names, or repeating its key, and 10% unknown ids. Of
the submission, the latency of a row is the time from the call to the commit of its group; it is patched, published and
purged in the time that is reported beside. Peak memory: of the process, beyond what it held before. `--database URL` takes
PostgreSQL instead of SQLite. About four minutes.
"""

import asyncio
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from documents import keep, parser

from raymu.config import Config
from raymu.core.events import RevocationsAccepted
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.history import replay
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore

FEATURES = 4
GROUP = 100
"""Requests that share a commit."""


def write_samples(path: Path, samples: int) -> None:
    """Two classes that a line separates, with ids from 0 up."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, samples)
    features = random.normal(size=(samples, FEATURES)).astype(np.float32) + labels[:, None].astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), FEATURES)
    pq.write_table(pa.table({"id": np.arange(samples), "label": labels, "features": column}), path)


def submission(ids: Sequence[int], requests: int) -> list[Revocation]:
    """80% name a sample of their own, 5% another row's sample, 5% repeat another row, 10% are unknown; in random order."""
    own, twice = requests * 8 // 10, requests // 20
    good = [Revocation(ids=(one,), key=f"row {one}") for one in ids[:own]]
    same_sample = [Revocation(ids=(one,)) for one in ids[:twice]]
    unknown = [Revocation(ids=(-1 - one,)) for one in range(requests - own - 2 * twice)]
    rows = [*good, *same_sample, *good[:twice], *unknown]
    return [rows[place] for place in np.random.default_rng(1).permutation(len(rows))]


def figures(seconds: Sequence[float], *, requests: int) -> dict[str, float]:
    """seconds: that each request, or each group of them, waited"""
    return {
        "requests": requests,
        "per_second": round(requests / sum(seconds)),
        "median_ms": round(1000 * float(np.median(seconds)), 2),
        "p99_ms": round(1000 * float(np.quantile(seconds, 0.99)), 2),
    }


def acknowledged(coordinator: Coordinator, ids: Sequence[int], group: int) -> dict[str, float]:
    """Requests of one sample each, so many to a commit; nothing is done about them yet."""
    seconds = []
    for start in range(0, len(ids), group):
        asked = [Revocation(ids=(one,)) for one in ids[start : start + group]]
        started = time.perf_counter()
        coordinator.accept(asked)
        seconds.append(time.perf_counter() - started)
    return figures(seconds, requests=len(ids))


def commits(store: RunStore, after: float) -> list[float]:
    """Seconds until each group of the submission was committed: at the latest when the next one was judged."""
    with closing(store.journal(is_read_only=True)) as journal:
        events = list(journal.events())
    times = [event.at.timestamp() for event in events if event.at.timestamp() >= after]
    is_group = [isinstance(event, RevocationsAccepted) for event in events if event.at.timestamp() >= after]
    return [later - after for later, is_one in zip(times[1:], is_group[:-1], strict=True) if is_one]


def submitted(store: RunStore, coordinator: Coordinator, asked: Sequence[Revocation]) -> dict[str, Any]:
    before = resident_mb()
    after, started = time.time(), time.perf_counter()
    answers = asyncio.run(coordinator.submit(asked, no_progress))
    seconds = time.perf_counter() - started
    waited = commits(store, after)
    refusals = Counter(type(answer.refusal).__name__ for answer in answers if answer.refusal)
    return {
        "requests": len(asked),
        "accepted": len(asked) - refusals.total(),
        "refused": dict(refusals),
        "acknowledged_per_second": round(len(asked) / waited[-1]),
        "median_s": round(float(np.median(waited)), 2),
        "p99_s": round(float(np.quantile(waited, 0.99)), 2),
        "purged_after_s": round(seconds, 1),
        "peak_memory_mb": round(peak_mb() - before),
    }


def reopened(store: RunStore) -> float:
    """Seconds to replay the journal."""
    with closing(store.journal(is_read_only=True)) as journal:
        started = time.perf_counter()
        replay(journal, store.manifest)
        return round(time.perf_counter() - started, 2)


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--database", help="URL of a journal on PostgreSQL")
    chosen = options.parse_args()
    requests, singles = (2_000, 50) if chosen.smoke else (100_000, 1_000)
    grouped = 20 * GROUP if chosen.smoke else 100 * GROUP
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "made-up.parquet"
        write_samples(data, requests + singles + grouped)
        config = Config.parse(
            {
                "data": {"train": str(data)},
                "model": {"name": "logistic"},
                "training": {"epochs": 3},
                "partition": {"shards": 8, "slices": 5},
                "unlearning": {"strategy": "dpus"},
                "cluster": {"fleet": "local", "journal": chosen.database},
            }
        )
        prepare_run(config, f"{folder}/run").write()
        store = RunStore(f"{folder}/run")
        coordinator = Coordinator(store, LocalFleet(store))
        asyncio.run(coordinator.train(no_progress))
        ids = np.random.default_rng(2).permutation(requests + singles + grouped).tolist()
        result: dict[str, Any] = {
            "database": "postgresql" if chosen.database else "sqlite",
            "single": acknowledged(coordinator, ids[:singles], 1),
            f"groups_of_{GROUP}": acknowledged(coordinator, ids[singles : singles + grouped], GROUP),
        }
        asked = submission(ids[singles + grouped :], requests)
        result["submission"] = submitted(store, coordinator, asked)
        result["replay_s"] = reopened(store)
        asyncio.run(coordinator.close())
    keep(f"acknowledgements-{result['database']}", data, result)


if __name__ == "__main__":
    main()
