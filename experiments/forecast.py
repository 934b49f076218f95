"""How near are forecasts of retraining to what it takes?

Method: single requests of random samples, one after the other, each forecast with sisa and then carried out by the same
warm Ray actor. Passes must be equal; of the seconds, the relative error |forecast - actual| / actual, of each shard. 40
requests on the letter data; a minute.
"""

from matplotlib.figure import Figure
from plots import look, panels
from rows import Rows, column
from subjects import about, shuffled_ids, trained
from workbench import Options, experiment

from raymu.api import open_run
from raymu.config.unlearning import Strategy
from raymu.runtime.cluster import cluster_connection

REQUESTS, SMOKE_REQUESTS = 40, 5


def measure(options: Options) -> Rows:
    rows: Rows = []
    for subject in options.subjects(seeds=1):
        cluster = {"fleet": "ray", "live_actors": 1}
        with trained(subject, cluster=cluster) as bench, cluster_connection(bench.config.cluster):
            ids = shuffled_ids(bench)[: SMOKE_REQUESTS if subject.is_smoke else REQUESTS]
            with open_run(bench.base) as run:
                run.warm_up()
                for sample_id in ids:
                    [forecast] = run.plan([sample_id], strategy=Strategy.SISA).shards
                    [actual] = run.revoke([sample_id], strategy=Strategy.SISA).shards
                    rows.append(
                        {
                            **about(subject, bench),
                            "forecast_passes": forecast.retrain_passes,
                            "passes": actual.passes,
                            "forecast_seconds": forecast.retrain_seconds,
                            "seconds": actual.seconds,
                            "error": abs(forecast.retrain_seconds - actual.seconds) / actual.seconds,
                        }
                    )
    return rows


def draw(rows: Rows) -> Figure:
    figure, [axes] = panels(1, 1, width=4.2, height=3.4)
    seconds, forecasts = column(rows, "seconds"), column(rows, "forecast_seconds")
    end = 1.05 * max(*seconds, *forecasts)
    axes.plot([0.0, end], [0.0, end], color="#8c8c8c", lw=1.0)
    axes.plot(seconds, forecasts, linestyle="none", **look("sisa"))
    axes.set_xlabel("retraining took, s")
    axes.set_ylabel("forecast, s")
    return figure


if __name__ == "__main__":
    experiment("forecast", __doc__, measure, {"forecast": draw})
