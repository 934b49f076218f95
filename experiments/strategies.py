"""What does each strategy cost, and how much accuracy is lost, compared with retraining and with a control?

Method: one run is trained for each data set, model and seed. On branches of it, every strategy (`ohs` with fine-tuning and
with replay) honours one request for 0.01%, 0.1%, 1% and 10% of the samples, and 20 requests for one sample each, at the
default hybrid boundary. The oracle is trained from scratch without the same samples. The control fine-tunes and subtracts
nothing. The untouched model and an oracle of another seed are measured too.
All data sets are tried with an MLP. The image data sets are also tried with a small CNN on 6,000 samples, for 1%
and the 20 requests only. Three seeds change partition, initial weights, order and forget set. Seconds are of compute, with
one thread. It takes seventy minutes on two cores. The first two figures correspond to figures 4 (accuracy) and 5 (time) of Li
et al. (arXiv 2412.14505).

Conclusion: patches by curvature lose no accuracy on MLPs, and come several times nearer to the oracle than the control, which
fine-tunes and forgets nothing. On large shards they take a small part of exact retraining's work, on small shards up to half
of it. `ohs` replays the last stages, at about half of retraining's work: it comes nearest on most data sets, not on shuttle.
On small CNNs the forecast finds that a patch saves nothing, so `hs` and `ohs` mostly retrain. The untouched model and an
oracle of another seed are not far from the oracle either, and on shuttle no patch is nearer: read distances beside theirs.
"""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.markdown import percent, points, ratio, table, times
from experiments.plots import legend, logarithmic_y, panels, plot_methods
from experiments.setups import DATA_SETS, Setup, result_columns, setup_columns, shuffled_ids, trained
from raymu.benchmark.compare import SCRATCH, STRATEGIES, ComparisonSetup, Method, Requests, compare
from raymu.config.unlearning import Strategy

SHARES = {"0.01%": 0.0001, "0.1%": 0.001, "1%": 0.01, "10%": 0.1}
BULK, SINGLES = "1%", "20 singles"
CNN_SCENARIOS = (BULK, SINGLES)
CNN_SAMPLES = 6000
FINE_TUNING = Method(name="ohs, fine-tune", strategy=Strategy.OHS, unlearning={"ohs": {"remedy": "fine_tune"}})


def measure(options: Options) -> list[Row]:
    images = [name for name in options.data if DATA_SETS[name].is_image]
    small = options.setups(model="cnn", samples=dict.fromkeys(images, CNN_SAMPLES))
    cnns = [setup for setup in small if setup.data in images]
    return map_concurrently(measure_setup, [*options.setups(), *cnns], options)


def measure_setup(setup: Setup) -> list[Row]:
    with trained(setup) as comparison:
        rows: list[Row] = []
        for scenario, requests in scenarios(setup, comparison).items():
            results = compare(comparison, requests, (*STRATEGIES, FINE_TUNING))
            [oracle] = [result.predictions for result in results if result.method == SCRATCH]
            columns = {
                **setup_columns(setup, comparison),
                "scenario": scenario,
                "forgotten": sum(map(len, requests)),
            }
            rows += [{**columns, **result_columns(result, oracle)} for result in results]
        return rows


def scenarios(setup: Setup, comparison: ComparisonSetup) -> Mapping[str, Requests]:
    ids = shuffled_ids(comparison)
    at_once = {scenario: [ids[: max(1, round(share * len(ids)))]] for scenario, share in SHARES.items()}
    every = {**at_once, SINGLES: [[sample_id] for sample_id in ids[:20]]}
    return {scenario: every[scenario] for scenario in (CNN_SCENARIOS if setup.model == "cnn" else every)}


def fashion_mnist(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.query("data == 'fashion-mnist' and model == 'mlp'")


def summary(rows: pd.DataFrame) -> str:
    images = fashion_mnist(rows)
    share = 1.0 / ratio(images, BULK, "ohs", SCRATCH, "seconds")
    lost = points(images.query("scenario == @BULK and method == 'ohs'")["accuracy_lost"])
    cost = f"{share:.1%} of the compute of exact retraining"
    return f"Fashion-MNIST, 1% at once: ohs loses {lost} points at {cost}; table below"


def headline_table(rows: pd.DataFrame) -> str:
    """Write what every method costs on Fashion-MNIST and how near it comes to exact retraining."""
    images = fashion_mnist(rows)
    lines = []
    for method in images["method"].unique():
        cells = [method]
        for scenario in (BULK, SINGLES):
            measured = images.query("method == @method and scenario == @scenario")
            cells += [
                percent(measured["test_accuracy"]),
                times(ratio(images, scenario, method, "sisa", "passes")),
                f"{measured['forget_distance'].mean():.3f}",
            ]
        lines.append(cells)
    columns = ("test, %", "less work than sisa", "distance")
    header = ["", *(f"{scenario}: {column}" for scenario in ("1% at once", SINGLES) for column in columns)]
    return table(header, lines)


def strategies_table(rows: pd.DataFrame) -> str:
    """Write points of accuracy lost, and times less work than `sisa`, for every data set, model and scenario."""
    methods = [method for method in rows["method"].unique() if method not in ("sisa", SCRATCH)]
    lines = []
    for (model, data, scenario), measured in rows.groupby(["model", "data", "scenario"], sort=False):
        by_method = dict(list(measured.groupby("method")))
        cells = [f"{data}, {model.upper()}", scenario, percent(by_method[SCRATCH]["test_accuracy"])]
        for method in methods:
            lost = 100.0 * by_method[method]["accuracy_lost"].mean()
            cells.append(f"{lost:+.2f} / {times(ratio(measured, scenario, method, 'sisa', 'passes'))}")
        lines.append(cells)
    return table(["", "revoked", "exact, %", *methods], lines, numbers_from=2)


def draw_accuracy(rows: pd.DataFrame) -> Figure:
    return _draw(rows, "test_accuracy", "test accuracy, %", scale=100.0, is_logarithmic=False)


def draw_time(rows: pd.DataFrame) -> Figure:
    return _draw(rows, "seconds", "compute, s", scale=1.0, is_logarithmic=True)


def draw_forgetting(rows: pd.DataFrame) -> Figure:
    return _draw(rows, "forget_distance", "distance on the forget set", scale=1.0, is_logarithmic=False)


def _draw(rows: pd.DataFrame, column: str, label: str, *, scale: float, is_logarithmic: bool) -> Figure:
    groups = list(rows.groupby(["model", "data"], sort=False))
    figure, axes = panels(-(-len(groups) // 2), min(len(groups), 2), width=4.6)
    for panel, ((model, data), measured) in zip(axes, groups, strict=False):
        plot_methods(panel, measured, column, methods=measured["method"].unique(), scale=scale)
        panel.set_title(f"{data}, {model.upper()}")
        panel.set_ylabel(label)
        if is_logarithmic:
            logarithmic_y(panel)
    for empty in axes[len(groups) :]:
        empty.set_axis_off()
    for lowest in axes[max(0, len(groups) - 2) : len(groups)]:
        lowest.set_xlabel("samples revoked")
    legend(figure, axes)
    return figure


EXPERIMENT = Experiment(
    name="strategies",
    doc=__doc__,
    results=("strategies.csv",),
    summary=summary,
    figures={
        "strategies-accuracy": draw_accuracy,
        "strategies-time": draw_time,
        "strategies-forgetting": draw_forgetting,
    },
    tables={"headline": headline_table, "strategies": strategies_table},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=tuple(DATA_SETS))
