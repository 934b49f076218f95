"""When does sharded unlearning not pay?

Method: first, many samples at once, on the letter data with 8 shards x 5 slices: 1 to 50 samples for each shard on average,
with `sisa`, `dpus`, `hs` at two boundaries, and `ohs`, against training from scratch; and the number of shards that still
vote when all affected ones are rewound. Second, small models and little data: the time from a request to its published
repair, over 5 requests for one sample each, against training one unsharded model anew without the sample, which is the
obvious alternative; and the test accuracy of both. Three seeds. It takes four minutes on two cores.

Conclusion: many requests for a shard at once turn exact retraining into training from scratch. If samples are few, one model
that is retrained in a moment is far more accurate than shards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.markdown import times
from experiments.plots import legend, logarithmic_x, logarithmic_y, look, panels, plot_spread
from experiments.setups import Setup, result_columns, setup_columns, shuffled_ids, trained
from raymu.benchmark.compare import (
    SCRATCH,
    STRATEGIES,
    ComparisonSetup,
    Method,
    MethodResult,
    Requests,
    revoke_with,
    rewound_generation,
    train_from_scratch,
)
from raymu.config.unlearning import Strategy
from raymu.core.records import SampleId
from raymu.store.run import RunStore

AT_ONCE, SMALL = "many at once", "small models"
PER_SHARD = (1, 2, 5, 10, 20, 50)
WIDE_BOUNDARY = 0.85
METHODS = (*STRATEGIES, Method(name="hs, boundary 0.85", strategy=Strategy.HS, boundary=WIDE_BOUNDARY))
SAMPLES = (500, 2000, 8000, 16_000)
WIDTHS = (16, 256)
SINGLES = 5
UNSHARDED = "unsharded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    scenario: str
    setup: Setup
    width: int
    """Width of the hidden layer."""

    def __str__(self) -> str:
        return f"{self.scenario}: {self.setup}, {self.setup.samples or 'all'} samples, width {self.width}"


def measure(options: Options) -> list[Row]:
    sizes = SAMPLES[:2] if options.is_smoke else SAMPLES
    jobs = [Job(scenario=AT_ONCE, setup=setup, width=256) for setup in options.setups()]
    jobs += [
        Job(scenario=SMALL, setup=setup, width=width)
        for size in sizes
        for width in WIDTHS
        for setup in options.setups(samples=dict.fromkeys(options.data, size))
    ]
    return map_concurrently(measure_job, jobs, options)


def measure_job(job: Job) -> list[Row]:
    with trained(job.setup, model={"name": "mlp", "hidden": [job.width]}) as comparison:
        columns = {**setup_columns(job.setup, comparison), "scenario": job.scenario, "width": job.width}
        rows = _many_at_once(comparison, job) if job.scenario == AT_ONCE else _small_models(comparison, job)
        return [{**columns, **row} for row in rows]


def _many_at_once(comparison: ComparisonSetup, job: Job) -> list[Row]:
    ids = shuffled_ids(comparison)
    rows: list[Row] = []
    for per_shard in PER_SHARD[: 3 if job.setup.is_smoke else None]:
        forget = ids[: per_shard * comparison.config.partition.shards]
        oracle = train_from_scratch(comparison, [forget])
        columns: Row = {"per_shard": per_shard, "voters": _voters(comparison, forget)}
        results = [oracle, *(revoke_with(method, comparison, [forget]) for method in METHODS)]
        rows += [{**columns, **result_columns(result, oracle.predictions)} for result in results]
    return rows


def _voters(comparison: ComparisonSetup, ids: list[SampleId]) -> int:
    """Return the number of shards that still vote when the affected ones are rewound."""
    generation = rewound_generation(RunStore(comparison.base), ids)
    return sum(constituent.checkpoint is not None for constituent in generation.constituents)


def _small_models(comparison: ComparisonSetup, job: Job) -> list[Row]:
    requests = [[sample_id] for sample_id in shuffled_ids(comparison)[:SINGLES]]
    unsharded = _train_unsharded(job, requests)
    columns: Row = {"per_shard": None, "voters": None}
    rows: list[Row] = [{**columns, **result_columns(unsharded, unsharded.predictions), "method": UNSHARDED}]
    for method in STRATEGIES:
        result = revoke_with(method, comparison, requests)
        rows.append({**columns, **result_columns(result, unsharded.predictions)})
    return rows


def _train_unsharded(job: Job, requests: Requests) -> MethodResult:
    """Train one model of all samples, and train it anew for each request."""
    partition = {"shards": 1, "slices": 1}
    with trained(job.setup, model={"name": "mlp", "hidden": [job.width]}, partition=partition) as comparison:
        return train_from_scratch(comparison, requests)


def summary(rows: pd.DataFrame) -> str:
    many = rows[rows["scenario"] == AT_ONCE].groupby(["per_shard", "method"])[["passes", "voters"]].mean()
    most = many.index.levels[0].max()
    work = {each: many.loc[(each, SCRATCH), "passes"] / many.loc[(each, "sisa"), "passes"] for each in (1, most)}
    small = rows[rows["scenario"] == SMALL]
    fewest = small["samples"].min()
    means = small[small["samples"] == fewest].groupby("method")[["repaired_s", "test_accuracy"]].mean()
    sisa, unsharded = means.loc["sisa"], means.loc[UNSHARDED]
    return (
        f"1 sample for each shard: sisa takes {times(work[1])} less work than training from scratch; {most:.0f}: "
        f"{times(work[most])}, with {many.loc[(most, 'sisa'), 'voters']:.1f} shards left to vote. {fewest} samples in all: "
        f"sisa takes {1000.0 * sisa['repaired_s']:.0f} ms and is {sisa['test_accuracy']:.0%} accurate, retraining one model "
        f"takes {1000.0 * unsharded['repaired_s']:.0f} ms and is {unsharded['test_accuracy']:.0%} accurate"
    )


def draw(rows: pd.DataFrame) -> Figure:
    figure, axes = panels(2, 3, width=3.2)
    _draw_many(axes[:3], rows[rows["scenario"] == AT_ONCE])
    _draw_small(axes[3:], rows[rows["scenario"] == SMALL])
    legend(figure, axes)
    return figure


def _draw_many(axes: Sequence[Axes], rows: pd.DataFrame) -> None:
    for method in rows["method"].unique():
        measured = rows[rows["method"] == method]
        line = {"label": method, **look(method)}
        plot_spread(axes[0], measured, "per_shard", "passes", scale=1e-3, **line)
        plot_spread(axes[1], measured, "per_shard", "test_accuracy", scale=100.0, **line)
    plot_spread(axes[2], rows[rows["method"] == SCRATCH], "per_shard", "voters", color="black", marker="o")
    logarithmic_y(axes[0])
    labels = ("sample passes, thousands", "test accuracy, %", "shards left to vote")
    for panel, label in zip(axes, labels, strict=True):
        logarithmic_x(panel, sorted(rows["per_shard"].unique()))
        panel.set_title("many requests at once")
        panel.set_xlabel("samples for each shard")
        panel.set_ylabel(label)


def _draw_small(axes: Sequence[Axes], rows: pd.DataFrame) -> None:
    for panel, width in zip(axes, WIDTHS, strict=False):
        for method in (UNSHARDED, Strategy.SISA, Strategy.DPUS):
            measured = rows[(rows["method"] == method) & (rows["width"] == width)]
            plot_spread(panel, measured, "samples", "repaired_s", label=method, **look(method))
        logarithmic_y(panel)
        panel.set_title(f"hidden layer of {width}")
        panel.set_ylabel("until repaired, s")
    for method in (UNSHARDED, Strategy.SISA):
        measured = rows[(rows["method"] == method) & (rows["width"] == WIDTHS[-1])]
        plot_spread(axes[2], measured, "samples", "test_accuracy", scale=100.0, label=method, **look(method))
    axes[2].set_ylabel("test accuracy, %")
    axes[2].set_title(f"hidden layer of {WIDTHS[-1]}")
    for panel in axes:
        logarithmic_x(panel, sorted(rows["samples"].unique()))
        panel.set_xlabel("samples")


EXPERIMENT = Experiment(
    name="when_not_to_shard",
    doc=__doc__,
    results=("when_not_to_shard.csv",),
    summary=summary,
    figures={"when_not_to_shard": draw},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
