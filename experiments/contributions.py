"""Which contributions forget best, and what does calibration change?

Method: four kinds of contributions are compared: the present gradient of the forget set, the same times the inverse curvature
of retained samples, the recorded and scaled update of each fixed group, and the recorded update of every touched batch as a
whole. Each is tried with and without calibration, as a patch alone (`dpus`) and with fine-tuning (`ohs`), for one sample,
0.1%, 1% and 5% at once. The baselines are the retrained oracle, an oracle of another seed, which shows how far two exact
retrainings differ, and the control, which subtracts nothing. The model is an MLP with one hidden layer of 64 on 8,000 samples
of Fashion-MNIST, trained with plain SGD, because `batch` records the update of every step. Three seeds. It takes four minutes
on two cores.

Conclusion: calibrated steps by curvature come nearest to the oracle and lose no accuracy. The updates of whole batches
destroy a shard's model unless they are calibrated. Grouped updates are best as they are: calibrating them costs accuracy.
"""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.plots import baseline, legend, look, panels, plot_spread
from experiments.setups import Setup, result_columns, setup_columns, shuffled_ids, trained
from raymu.benchmark.compare import (
    ComparisonSetup,
    Method,
    Requests,
    fine_tune_control,
    revoke_with,
    train_from_scratch,
)
from raymu.config.unlearning import Strategy

CONTRIBUTIONS = ("curvature", "gradient", "group", "batch")
SHARES = {"1 sample": 0.0, "0.1%": 0.001, "1%": 0.01, "5%": 0.05}
SAMPLES = {"fashion-mnist": 8000}
ORACLE, OTHER_ORACLE, CONTROL = "oracle", "another oracle", "control"
TITLES = {"dpus": "patched only (dpus)", "ohs": "patched and fine-tuned (ohs)"}
MEASURES = {
    "accuracy_lost": ("test accuracy lost, points", 100.0),
    "forget_distance": ("distance on the forget set", 1.0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    setup: Setup
    contributions: str

    def __str__(self) -> str:
        return f"{self.setup}, {self.contributions}"


def measure(options: Options) -> list[Row]:
    setups = options.setups(samples=SAMPLES)
    jobs = [Job(setup=setup, contributions=contributions) for setup in setups for contributions in CONTRIBUTIONS]
    return map_concurrently(measure_contributions, jobs, options)


def measure_contributions(job: Job) -> list[Row]:
    groups = {"groups_per_slice": 4 if job.setup.is_smoke else 6} if job.contributions == "group" else {}
    with trained(
        job.setup,
        model={"name": "mlp", "hidden": [64]},
        training={"optimizer": "sgd", "learning_rate": 0.1},
        unlearning={"contributions": job.contributions, **groups},
    ) as comparison:
        ids = shuffled_ids(comparison)
        columns = {**setup_columns(job.setup, comparison), "contributions": job.contributions}
        rows: list[Row] = []
        for scenario, share in SHARES.items():
            requests = [ids[: max(1, round(share * len(ids)))]]
            rows += [{**columns, "scenario": scenario, **row} for row in _measure_requests(comparison, requests)]
        return rows


def _measure_requests(comparison: ComparisonSetup, requests: Requests) -> list[Row]:
    oracle = train_from_scratch(comparison, requests)
    baselines = {
        ORACLE: oracle,
        OTHER_ORACLE: train_from_scratch(comparison, requests, seed=comparison.config.partition.seed + 1000),
        CONTROL: fine_tune_control(comparison, requests),
    }
    rows: list[Row] = [
        {"calibration": None, **result_columns(result, oracle.predictions), "method": name}
        for name, result in baselines.items()
    ]
    for strategy in (Strategy.DPUS, Strategy.OHS):
        for calibration in (True, False):
            method = Method(
                name=strategy,
                strategy=strategy,
                unlearning={"calibration": calibration, "ohs": {"remedy": "fine_tune"}},
            )
            result = revoke_with(method, comparison, requests)
            rows.append({"calibration": calibration, **result_columns(result, oracle.predictions)})
    return rows


def summary(rows: pd.DataFrame) -> str:
    cells = []
    for contributions in rows["contributions"].unique():
        patched = rows.query("method == 'dpus' and scenario == '1%' and contributions == @contributions")
        means = [
            patched[patched["calibration"] == calibration][["accuracy_lost", "forget_distance"]].mean()
            for calibration in (False, True)
        ]
        lost = " to ".join(f"{100.0 * mean['accuracy_lost']:.1f}" for mean in means)
        distance = " to ".join(f"{mean['forget_distance']:.2f}" for mean in means)
        cells.append(f"{contributions}: {lost} points lost, distance {distance}")
    return f"1% at once, patched only, from uncalibrated to calibrated: {'; '.join(cells)}"


def draw(rows: pd.DataFrame) -> Figure:
    figure, axes = panels(2, 2, width=4.6)
    for panel_row, strategy in enumerate(TITLES):
        for panel, (column, (label, scale)) in zip(axes[2 * panel_row :], MEASURES.items(), strict=False):
            _draw_contributions(panel, rows[rows["method"] == strategy], column, scale)
            _draw_baselines(panel, rows, column, scale)
            panel.set_xticks(range(len(SHARES)), list(SHARES))
            panel.set_title(TITLES[strategy])
            panel.set_ylabel(label)
    for panel in axes[2:]:
        panel.set_xlabel("samples revoked")
    legend(figure, axes)
    return figure


def _draw_contributions(axes: Axes, rows: pd.DataFrame, column: str, scale: float) -> None:
    for index, contributions in enumerate(CONTRIBUTIONS):
        for calibration, dashes in ((True, "-"), (False, "--")):
            measured = rows[(rows["contributions"] == contributions) & (rows["calibration"] == calibration)]
            label = f"{contributions}{'' if calibration else ', not calibrated'}"
            line = look(contributions, index) | {"ls": dashes, "label": label}
            plot_spread(axes, measured, "scenario", column, scale=scale, order=list(SHARES), **line)


def _draw_baselines(axes: Axes, rows: pd.DataFrame, column: str, scale: float) -> None:
    for name in (ORACLE, OTHER_ORACLE, CONTROL):
        measured = rows.query("contributions == 'gradient' and method == @name")
        level = scale * measured.groupby("scenario")[column].mean().reindex(list(SHARES))
        axes.plot(range(len(SHARES)), level, lw=1.2, label=name, **baseline(name))


EXPERIMENT = Experiment(
    name="contributions",
    doc=__doc__,
    results=("contributions.csv",),
    summary=summary,
    figures={"contributions": draw},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=("fashion-mnist",))
