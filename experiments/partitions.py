"""How do the numbers of shards and slices change accuracy and the work of a request?

Method: the number of shards is varied with five slices, and the number of slices with eight shards. Each layout gets a
trained run, ten requests for one sample each, one after the other, with `sisa`, `hs` and `ohs` at the default boundary, and
an oracle trained from scratch. `bytes` is the size of the slice checkpoints. The letter data, and 12,000 samples of
Fashion-MNIST. Three seeds. It takes eleven minutes on two cores.

Conclusion: shards divide the work of a request and cost accuracy, since each model sees fewer samples. Slices divide the
work further, in exchange for checkpoints on disk. Patches save much where shards are large, and little where they are small.
"""

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.markdown import percent, times
from experiments.plots import legend, logarithmic_x, logarithmic_y, look, panels, plot_spread
from experiments.setups import Setup, result_columns, setup_columns, shuffled_ids, trained
from raymu.benchmark.compare import STRATEGIES, ComparisonSetup, revoke_with, train_from_scratch
from raymu.config.unlearning import Strategy
from raymu.store.run import RunStore

SHARDS = (1, 2, 4, 8, 16)
SLICES = (1, 2, 5, 10, 20)
USUAL = {"shards": 8, "slices": 5}
SINGLES = 10
SAMPLES = {"fashion-mnist": 12_000}
METHODS = [method for method in STRATEGIES if method.strategy is not Strategy.DPUS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    setup: Setup
    shards: int
    slices: int

    def __str__(self) -> str:
        return f"{self.setup}, {self.shards} x {self.slices}"


def measure(options: Options) -> list[Row]:
    shard_counts, slice_counts = ((2, 8), (2, 5)) if options.is_smoke else (SHARDS, SLICES)
    layouts = [(shards, USUAL["slices"]) for shards in shard_counts]
    layouts += [(USUAL["shards"], slices) for slices in slice_counts]
    jobs = [
        Job(setup=setup, shards=shards, slices=slices)
        for setup in options.setups(samples=SAMPLES)
        for shards, slices in dict.fromkeys(layouts)
    ]
    return map_concurrently(measure_layout, jobs, options)


def measure_layout(job: Job) -> list[Row]:
    with trained(job.setup, partition={"shards": job.shards, "slices": job.slices}) as comparison:
        requests = [[sample_id] for sample_id in shuffled_ids(comparison)[:SINGLES]]
        oracle = train_from_scratch(comparison, requests)
        # A patch of the only shard has no other shard to be calibrated by: a checkpoint of its own serves instead, or the
        # shard is retrained.
        results = [oracle, *(revoke_with(method, comparison, requests) for method in METHODS)]
        columns = {
            **setup_columns(job.setup, comparison),
            "scenario": f"{SINGLES} singles",
            "bytes": _checkpoint_bytes(comparison),
        }
        return [{**columns, **result_columns(result, oracle.predictions)} for result in results]


def _checkpoint_bytes(comparison: ComparisonSetup) -> int:
    lineages = RunStore(comparison.base).current().lineages
    return sum(checkpoint.file.byte_size for lineage in lineages for checkpoint in lineage.checkpoints if checkpoint)


def summary(rows: pd.DataFrame) -> str:
    letters = rows.query("data == 'letter' and method == 'sisa' and slices == 5")
    fewest, most = letters["shards"].min(), letters["shards"].max()
    few, many = letters.query("shards == @fewest"), letters.query("shards == @most")
    work = few["passes"].mean() / many["passes"].mean()
    return (
        f"letter: {most} shards instead of {fewest} take {times(work)} less work for a request, and reach an accuracy of "
        f"{percent(many['test_accuracy'])}% instead of {percent(few['test_accuracy'])}%"
    )


def draw(rows: pd.DataFrame) -> Figure:
    names = rows["data"].unique()
    figure, axes = panels(len(names), 4, width=2.4, height=2.6)
    for panel_row, name in enumerate(names):
        for column, (varied, fixed) in enumerate((("shards", "slices"), ("slices", "shards"))):
            compared = rows[(rows["data"] == name) & (rows[fixed] == USUAL[fixed])]
            accuracy, work = axes[4 * panel_row + 2 * column : 4 * panel_row + 2 * column + 2]
            for method in ("from scratch", "sisa", "hs", "ohs"):
                measured = compared[compared["method"] == method]
                line = {"label": method, **look(method)}
                plot_spread(accuracy, measured, varied, "test_accuracy", scale=100.0, **line)
                plot_spread(work, measured, varied, "passes", scale=1.0 / SINGLES, **line)
            logarithmic_y(work)
            accuracy.set_ylabel("test accuracy, %")
            work.set_ylabel("sample passes a request")
            for panel in (accuracy, work):
                logarithmic_x(panel, sorted(compared[varied].unique()))
                panel.set_xlabel(varied)
                panel.set_title(f"{name}, {USUAL[fixed]} {fixed}")
    legend(figure, axes)
    return figure


EXPERIMENT = Experiment(
    name="partitions", doc=__doc__, results=("partitions.csv",), summary=summary, figures={"partitions": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=("letter", "fashion-mnist"))
