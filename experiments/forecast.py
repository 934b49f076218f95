"""How accurate are forecasts of retraining?

Method: requests for one random sample each are forecast with `sisa`, and then carried out by the same warm Ray actor, one
after the other. The passes must be equal. For the seconds of each shard, the relative error |forecast - actual| / actual is
measured. 40 requests on the letter data. It takes a minute.

Conclusion: the work is known exactly. The time of short stages varies.
"""

import pandas as pd
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.plots import look, panels
from experiments.setups import setup_columns, shuffled_ids, trained
from raymu.api import open_run
from raymu.config.unlearning import Strategy
from raymu.runtime.cluster import cluster_connection

REQUESTS, SMOKE_REQUESTS = 40, 5


def measure(options: Options) -> list[Row]:
    rows: list[Row] = []
    for setup in options.setups(seeds=1):
        cluster = {"fleet": "ray", "live_actors": 1}
        with trained(setup, cluster=cluster) as comparison, cluster_connection(comparison.config.cluster):
            ids = shuffled_ids(comparison)[: SMOKE_REQUESTS if setup.is_smoke else REQUESTS]
            with open_run(comparison.base) as run:
                run.warm_up()
                for sample_id in ids:
                    [forecast] = run.plan([sample_id], strategy=Strategy.SISA).shards
                    [actual] = run.revoke([sample_id], strategy=Strategy.SISA).shards
                    rows.append(
                        {
                            **setup_columns(setup, comparison),
                            "forecast_passes": forecast.retrain_passes,
                            "passes": actual.passes,
                            "forecast_seconds": forecast.retrain_seconds,
                            "seconds": actual.seconds,
                            "error": abs(forecast.retrain_seconds - actual.seconds) / actual.seconds,
                        }
                    )
    return rows


def summary(rows: pd.DataFrame) -> str:
    wrong = (rows["passes"] != rows["forecast_passes"]).sum()
    error = rows["error"].median()
    return f"passes are wrong in {wrong} of {len(rows)} forecasts; seconds have a median error of {error:.0%}"


def draw(rows: pd.DataFrame) -> Figure:
    figure, [axes] = panels(1, 1, width=4.2, height=3.4)
    end = 1.05 * rows[["seconds", "forecast_seconds"]].max().max()
    axes.plot([0.0, end], [0.0, end], color="#8c8c8c", lw=1.0)
    axes.plot(rows["forecast_seconds"], rows["seconds"], linestyle="none", **look("sisa"))
    axes.set_xlabel("forecast, s")
    axes.set_ylabel("retraining took, s")
    return figure


EXPERIMENT = Experiment(
    name="forecast", doc=__doc__, results=("forecast.csv",), summary=summary, figures={"forecast": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
