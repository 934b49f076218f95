"""What does the hybrid boundary buy: work and time, against accuracy and forgetting?

Method: 20 requests for one sample each, one after the other, on branches of one trained run, with `hs` and `ohs` at
boundaries that retrain a shard if none, only the last one, ..., or all five of its slices are touched. Forgetting too little
and too much is the mean distance by which the losses of the forgotten samples are below and above the retrained oracle's. An
oracle of another seed shows how far two exact retrainings differ. The letter data, and 20,000 samples of Fashion-MNIST.
Three seeds. It takes seven minutes on two cores.

Conclusion: the work falls with every slice that is patched instead of retrained, to half for single requests. In exchange,
the losses on the forget set move away from the oracle's, in both directions, though less far than those of an oracle with
another seed. Accuracy does not change.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.markdown import times
from experiments.plots import baseline, legend, look, panels, plot_spread
from experiments.setups import Setup, result_columns, setup_columns, shuffled_ids, trained
from raymu.benchmark.compare import Method, MethodResult, revoke_with, train_from_scratch
from raymu.config.unlearning import Strategy
from raymu.core.records import Remedy

BOUNDARIES = (0.0, 0.35, 0.65, 0.85, 0.95, 1.0)
SINGLES = 20
SAMPLES = {"fashion-mnist": 20_000}
ORACLE, OTHER_ORACLE = "oracle", "another oracle"
MEASURES = {
    "passes": ("sample passes, thousands", 1e-3),
    "seconds": ("compute, s", 1.0),
    "test_accuracy": ("test accuracy, %", 100.0),
    "forget_distance": ("distance on the forget set", 1.0),
}


def measure(options: Options) -> list[Row]:
    return map_concurrently(measure_setup, options.setups(samples=SAMPLES), options)


def measure_setup(setup: Setup) -> list[Row]:
    with trained(setup) as comparison:
        requests = [[sample_id] for sample_id in shuffled_ids(comparison)[:SINGLES]]
        oracle = train_from_scratch(comparison, requests)
        other = train_from_scratch(comparison, requests, seed=setup.seed + 1000)
        columns = {**setup_columns(setup, comparison), "scenario": f"{SINGLES} singles"}
        rows: list[Row] = [
            {
                **columns,
                "boundary": None,
                "retrained": None,
                **result_columns(result, oracle.predictions),
                "method": name,
            }
            for name, result in ((ORACLE, oracle), (OTHER_ORACLE, other))
        ]
        for strategy in (Strategy.HS, Strategy.OHS):
            for boundary in BOUNDARIES:
                method = Method(name=strategy, strategy=strategy, boundary=boundary)
                result = revoke_with(method, comparison, requests)
                rows.append(
                    {
                        **columns,
                        "boundary": boundary,
                        "retrained": _retrained_share(result),
                        **result_columns(result, oracle.predictions),
                    }
                )
        return rows


def _retrained_share(result: MethodResult) -> float:
    """Return the share of remedies that were retrainings."""
    remedies = [part.remedy for receipt in result.receipts for part in receipt.shards]
    return remedies.count(Remedy.RETRAIN) / len(remedies)


def summary(rows: pd.DataFrame) -> str:
    means = (
        rows.query("data == 'fashion-mnist' and method == 'hs'").groupby("boundary")[["passes", "accuracy_lost"]].mean()
    )
    cells = [
        f"{boundary:g}: {times(means.loc[1.0, 'passes'] / mean['passes'])}, {100.0 * mean['accuracy_lost']:+.2f} points"
        for boundary, mean in means.iterrows()
        if 0.0 < boundary < 1.0
    ]
    return f"Fashion-MNIST, hs: times less work than sisa, and accuracy lost, at boundary {'; '.join(cells)}"


def draw(rows: pd.DataFrame) -> Figure:
    names = rows["data"].unique()
    figure, axes = panels(len(MEASURES) + 1, len(names), width=4.6, height=2.1, sharex=True)
    for panel_column, name in enumerate(names):
        measured, column = rows[rows["data"] == name], axes[panel_column :: len(names)]
        column[0].set_title(name)
        for panel, (measure_name, (label, scale)) in zip(column, MEASURES.items(), strict=False):
            _draw_methods(panel, measured, measure_name, scale)
            panel.set_ylabel(label)
        accuracy, distance, both_sides = column[-3:]
        level = 100.0 * measured.query("method == @ORACLE")["test_accuracy"].mean()
        accuracy.axhline(level, lw=1.0, label="oracle", **baseline(ORACLE))
        noise = measured.query("method == @OTHER_ORACLE")["forget_distance"].mean()
        distance.axhline(noise, lw=1.0, label="oracle of another seed", **baseline(OTHER_ORACLE))
        _draw_methods(both_sides, measured, "over_forgetting", 1.0)
        _draw_methods(both_sides, measured, "under_forgetting", -1.0)
        both_sides.axhline(0.0, color="black", lw=0.8)
        both_sides.set_ylabel("too little (-), too much (+)\nforgotten, nats")
        both_sides.set_xlabel("hybrid boundary")
    legend(figure, axes)
    return figure


def _draw_methods(axes: Axes, rows: pd.DataFrame, column: str, scale: float) -> None:
    for method in (Strategy.HS, Strategy.OHS):
        measured = rows[rows["method"] == method]
        plot_spread(axes, measured, "boundary", column, scale=scale, label=method, **look(method))


EXPERIMENT = Experiment(
    name="boundary", doc=__doc__, results=("boundary.csv",), summary=summary, figures={"boundary": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=("letter", "fashion-mnist"))
