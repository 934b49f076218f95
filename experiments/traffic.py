"""What do requests cost one by one, in bursts, in a storm, and by owner?

Method: the letter data with 400 made-up owners. 40 requests for one sample each arrive one after the other, in bursts of
ten, and all at once. Requests that arrive together share one remedy for each shard. Then five owners revoke all their
samples (about 40 each), one after the other, on a run that is partitioned uniformly and on a run that is partitioned by
owner, where the samples of an owner share a shard and a slice. `sisa`, `hs` and `ohs` at the default boundary, and the
oracle, trained from scratch once for each arrival. Three seeds. It takes three minutes on two cores.

Conclusion: requests that arrive together share their remedies, which saves most of the work with every strategy. An owner's
request is cheap if the partition is by owner.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.markdown import times
from experiments.plots import legend, logarithmic_y, panels, plot_methods
from experiments.setups import Setup, result_columns, setup_columns, shuffled_ids, trained
from raymu.benchmark.compare import STRATEGIES, ComparisonSetup, Requests, revoke_with, train_from_scratch
from raymu.config.unlearning import Strategy

OWNERS, REVOKING_OWNERS = 400, 5
REQUESTS, BURST = 40, 10
METHODS = [method for method in STRATEGIES if method.strategy is not Strategy.DPUS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrivals:
    requests: Requests
    together: int
    """Number of requests that arrive at the same moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    setup: Setup
    policy: str
    """Partition policy."""

    def __str__(self) -> str:
        return f"{self.setup}, partitioned {self.policy}"


def measure(options: Options) -> list[Row]:
    policies = ("uniform", "owner")
    jobs = [Job(setup=setup, policy=policy) for setup in options.setups() for policy in policies]
    return map_concurrently(measure_policy, jobs, options)


def measure_policy(job: Job) -> list[Row]:
    with _trained_with_owners(job) as comparison:
        rows: list[Row] = []
        for scenario, arrivals in _scenarios(job.policy, comparison).items():
            requests, together = arrivals.requests, arrivals.together
            oracle = train_from_scratch(comparison, requests)
            results = [revoke_with(method, comparison, requests, together=together) for method in METHODS]
            columns = {**setup_columns(job.setup, comparison), "policy": job.policy, "scenario": scenario}
            rows += [{**columns, **result_columns(result, oracle.predictions)} for result in (oracle, *results)]
        return rows


@contextmanager
def _trained_with_owners(job: Job) -> Iterator[ComparisonSetup]:
    """Train a run in which a random owner is assigned to each sample."""
    with tempfile.TemporaryDirectory() as folder:
        train = Path(str(job.setup.config(Path(folder)).data.train))
        table = pq.read_table(train)
        owners = np.random.default_rng(1).integers(0, OWNERS, table.num_rows)
        owned = Path(folder) / "owned.parquet"
        pq.write_table(table.append_column("owner", pa.array(owners)), owned)
        data = {"train": str(owned), "owner": "owner"}
        with trained(job.setup, data=data, partition={"policy": job.policy}) as comparison:
            yield comparison


def _scenarios(policy: str, comparison: ComparisonSetup) -> Mapping[str, Arrivals]:
    """Return the arrivals by name. Single samples are revoked under the uniform policy only: both spread them alike."""
    owners = np.random.default_rng(comparison.config.partition.seed).permutation(OWNERS)[:REVOKING_OWNERS]
    table = comparison.table
    assert table.owners is not None
    owned = [table.ids[table.owners == owner].tolist() for owner in owners]
    by_owner = {f"owners, {policy}": Arrivals(requests=[ids for ids in owned if ids], together=1)}
    if policy == "owner":
        return by_owner
    singles = [[sample_id] for sample_id in shuffled_ids(comparison)[:REQUESTS]]
    together = {"one by one": 1, f"bursts of {BURST}": BURST, f"storm of {REQUESTS}": REQUESTS}
    return {name: Arrivals(requests=singles, together=count) for name, count in together.items()} | by_owner


def summary(rows: pd.DataFrame) -> str:
    passes = rows[rows["method"] == "sisa"].groupby("scenario")["passes"].mean()
    at_once = passes["one by one"] / passes[f"storm of {REQUESTS}"]
    by_owner = passes["owners, uniform"] / passes["owners, owner"]
    return (
        f"sisa: {REQUESTS} requests at once take {times(at_once)} less work than one by one; requests of owners take "
        f"{times(by_owner)} less if the samples of an owner share a slice"
    )


def draw(rows: pd.DataFrame) -> Figure:
    figure, axes = panels(1, 2, width=4.6, height=3.2)
    methods = [method.name for method in METHODS]
    plot_methods(axes[0], rows, "passes", methods=methods, scale=1e-3)
    plot_methods(axes[1], rows, "accuracy_lost", methods=methods, scale=100.0)
    axes[0].set_ylabel("sample passes, thousands")
    axes[1].set_ylabel("test accuracy lost, points")
    logarithmic_y(axes[0])
    scenarios = [name.replace(" of ", "\nof ").replace(", ", ",\n") for name in rows["scenario"].unique()]
    for panel in axes:
        panel.set_xticks(range(len(scenarios)), scenarios)
    legend(figure, axes)
    return figure


EXPERIMENT = Experiment(
    name="traffic", doc=__doc__, results=("traffic.csv",), summary=summary, figures={"traffic": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
