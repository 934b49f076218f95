"""What do requests cost as they come: one by one, in bursts, in a storm, and by owner?

Method: the letter data with 400 made-up owners. 40 requests of one sample come one after the other, in bursts of ten,
and all at once; requests that come together are served by one remedy for each shard. Then five owners ask, one after
the other, for all their samples (about 40), of a run partitioned uniformly and of one partitioned by owner, where an
owner's samples share a shard and a slice. sisa, hs and ohs at the default boundary, and the oracle, trained from
scratch once for each time that something came. Three seeds; three minutes on two cores.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from plots import dodged, legend, logarithmic_y, panels
from rows import Rows, distinct
from subjects import Subject, about, outcome, shuffled_ids, trained
from workbench import Options, experiment, map_concurrently

from raymu.benchmark.compare import STRATEGIES, ComparisonSetup, Requests, revoke_with, train_from_scratch
from raymu.config.unlearning import Strategy

OWNERS, OWNERS_ASKING = 400, 5
REQUESTS, BURST = 40, 10
METHODS = [method for method in STRATEGIES if method.strategy is not Strategy.DPUS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """together: how many requests come at a time"""

    requests: Requests
    together: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Partitioned:
    subject: Subject
    policy: str

    def __str__(self) -> str:
        return f"{self.subject}, partitioned {self.policy}"


def measure(options: Options) -> Rows:
    jobs = [Partitioned(subject=one, policy=policy) for one in options.subjects() for policy in ("uniform", "owner")]
    return map_concurrently(try_traffic, jobs, options)


def try_traffic(job: Partitioned) -> Rows:
    with _with_owners(job) as bench:
        rows: Rows = []
        for scenario, traffic in _traffics(job.policy, bench).items():
            oracle = train_from_scratch(bench, traffic.requests)
            tried = (revoke_with(method, bench, traffic.requests, together=traffic.together) for method in METHODS)
            told = {**about(job.subject, bench), "policy": job.policy, "scenario": scenario}
            rows += [{**told, **outcome(trial, oracle.predictions)} for trial in (oracle, *tried)]
        return rows


@contextmanager
def _with_owners(job: Partitioned) -> Iterator[ComparisonSetup]:
    """The subject, each of whose samples belongs to somebody."""
    with tempfile.TemporaryDirectory() as folder:
        train = Path(job.subject.config(Path(folder)).data.train)
        table = pq.read_table(train)
        owners = np.random.default_rng(1).integers(0, OWNERS, table.num_rows)
        owned = Path(folder) / "owned.parquet"
        pq.write_table(table.append_column("owner", pa.array(owners)), owned)
        data = {"train": str(owned), "owner": "owner"}
        with trained(job.subject, data=data, partition={"policy": job.policy}) as bench:
            yield bench


def _traffics(policy: str, bench: ComparisonSetup) -> Mapping[str, Traffic]:
    """Single samples only where they are spread uniformly: by owner they would be spread alike."""
    owners = np.random.default_rng(bench.config.partition.seed).permutation(OWNERS)[:OWNERS_ASKING]
    assert bench.table.owners is not None
    owned = [bench.table.ids[bench.table.owners == owner].tolist() for owner in owners]
    by_owner = {f"owners, {policy}": Traffic(requests=[ids for ids in owned if ids], together=1)}
    if policy == "owner":
        return by_owner
    singles = [[sample_id] for sample_id in shuffled_ids(bench)[:REQUESTS]]
    together = {"one by one": 1, f"bursts of {BURST}": BURST, f"storm of {REQUESTS}": REQUESTS}
    return {name: Traffic(requests=singles, together=count) for name, count in together.items()} | by_owner


def draw(rows: Rows) -> Figure:
    figure, axes = panels(1, 2, width=4.6, height=3.2)
    scenarios, methods = distinct(rows, "scenario"), [method.name for method in METHODS]
    shown: dict[str, Any] = {"across": "scenario", "places": scenarios, "methods": methods}
    dodged(axes[0], rows, name="passes", scale=1e-3, **shown)
    dodged(axes[1], rows, name="accuracy_lost", scale=100.0, **shown)
    axes[0].set_ylabel("sample passes, thousands")
    axes[1].set_ylabel("test accuracy lost, points")
    logarithmic_y(axes[0])
    for one in axes:
        one.set_xticks(
            range(len(scenarios)), [name.replace(" of ", "\nof ").replace(", ", ",\n") for name in scenarios]
        )
    legend(figure, axes)
    return figure


if __name__ == "__main__":
    experiment("traffic", __doc__, measure, {"traffic": draw})
