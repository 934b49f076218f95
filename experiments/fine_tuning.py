"""How much fine-tuning does ohs need, and what does it cost?

Method: one run is trained for each seed: an MLP on Fashion-MNIST with four shards x five slices. On branches of it, 1% of
the samples are revoked at once, which is above the default hybrid boundary in every shard. After the patch, `ohs` fine-tunes
on the last slice for one epoch, or for at most two or three, until the loss on unseen samples stops improving. The baselines
are the oracle, trained from scratch without the same samples, the patch alone, and the control. Three seeds. Compute is of
one thread. It takes four minutes on two cores.

Conclusion: where the rate ends at zero, a patch by curvature loses so little accuracy that fine-tuning stops at once,
whatever its maximum.
"""

import pandas as pd
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.markdown import points
from experiments.plots import look, panels, plot_spread
from experiments.setups import Setup, result_columns, setup_columns, shuffled_ids, trained
from raymu.benchmark.compare import SCRATCH, Method, compare
from raymu.config.unlearning import Strategy

MAX_EPOCHS = (1, 2, 3)
SHARE = 0.01
METHODS = (
    Method(name="dpus", strategy=Strategy.DPUS),
    *(
        Method(
            name=f"ohs, {epochs}", strategy=Strategy.OHS, unlearning={"ohs": {"remedy": "fine_tune", "epochs": epochs}}
        )
        for epochs in MAX_EPOCHS
    ),
)
MEASURES = (
    ("accuracy_lost", "points of accuracy lost", 100.0),
    ("share_of_passes", "sample passes, % of the oracle's", 100.0),
    ("forget_distance", "distance on the forget set", 1.0),
)


def measure(options: Options) -> list[Row]:
    return map_concurrently(measure_setup, options.setups(), options)


def measure_setup(setup: Setup) -> list[Row]:
    with trained(setup) as comparison:
        ids = shuffled_ids(comparison)
        forgotten = round(SHARE * len(ids))
        results = compare(comparison, [ids[:forgotten]], METHODS)
        [scratch] = [result for result in results if result.method == SCRATCH]
        columns = {**setup_columns(setup, comparison), "forgotten": forgotten}
        return [
            {
                **columns,
                **result_columns(result, scratch.predictions),
                "share_of_passes": result.passes / scratch.passes,
                "share_of_seconds": result.seconds / scratch.seconds,
            }
            for result in results
        ]


def summary(rows: pd.DataFrame) -> str:
    cells = []
    for epochs in MAX_EPOCHS:
        measured = rows[rows["method"] == f"ohs, {epochs}"]
        cells.append(
            f"{epochs}: {points(measured['accuracy_lost'])} points lost at {measured['share_of_passes'].mean():.1%} of the "
            f"oracle's sample passes and {measured['share_of_seconds'].mean():.1%} of its seconds"
        )
    return f"Fashion-MNIST, 1% at once, by the maximum number of epochs: {'; '.join(cells)}"


def draw(rows: pd.DataFrame) -> Figure:
    figure, axes = panels(1, 3, width=3.0)
    methods = [name for name in rows["method"].unique() if name != SCRATCH]
    for panel, (column, label, scale) in zip(axes, MEASURES, strict=True):
        for index, method in enumerate(methods):
            line = look(method.partition(",")[0]) | {"linestyle": "none"}
            measured = rows[rows["method"] == method]
            plot_spread(panel, measured, "method", column, scale=scale, order=[method], offset=index, **line)
        panel.set_xticks(range(len(methods)), methods)
        panel.set_xlabel("strategy, and maximum epochs of ohs")
        panel.set_ylabel(label)
        panel.grid(visible=False, axis="x")
    return figure


EXPERIMENT = Experiment(
    name="fine_tuning", doc=__doc__, results=("fine_tuning.csv",), summary=summary, figures={"fine_tuning": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=("fashion-mnist",))
