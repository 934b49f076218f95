"""How near are forecasts of retraining to what it takes?

Method: single requests of random samples, one after the other, each forecast with `sisa` and then carried out by the same
fleet of one warm actor. Passes must be equal; of the seconds, the relative error |forecast - actual| / actual, per shard.
About a minute on the letter data.
"""

import tempfile
from statistics import median

import numpy as np
from workbench import keep, mlp_config, parser

from raymu.api import train
from raymu.learn.data import read_table
from raymu.runtime.cluster import cluster_connection


def main() -> None:
    options = parser(__doc__).parse_args()
    config = mlp_config(options.train, cluster={"live_actors": 1})
    requests = 5 if options.smoke else 40
    ids = np.random.default_rng(0).permutation(read_table(str(options.train), config.data).ids)[:requests].tolist()
    errors, wrong_passes = [], 0
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster_connection(config.cluster),
        train(config, f"{folder}/run") as run,
    ):
        for sample_id in ids:
            [forecast] = run.plan([sample_id], strategy="sisa").shards
            [actual] = run.revoke([sample_id], strategy="sisa").shards
            wrong_passes += forecast.retrain_passes != actual.passes
            errors.append(abs(forecast.retrain_seconds - actual.seconds) / actual.seconds)
    keep(
        "forecast",
        options.train,
        {
            "requests": requests,
            "wrong_passes": wrong_passes,
            "median_error_of_seconds": round(median(errors), 3),
            "p90_error_of_seconds": round(float(np.quantile(errors, 0.9)), 3),
        },
    )


if __name__ == "__main__":
    main()
