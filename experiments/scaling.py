"""How much faster are two workers than one?

Method: eight shards are trained by a fleet of one actor and by a fleet of two, by turns, three times; the ratio of the wall
time between the first command and the last report. The actors are up before; what it takes to start Ray and them is
reported apart. Under two minutes on Fashion-MNIST with two cores.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

from workbench import keep, mlp_config, parser

from raymu.api import Run
from raymu.runtime.cluster import cluster_connection
from raymu.service.ingest import create_run


def train_seconds(train: Path, location: str, workers: int) -> tuple[float, float]:
    """returns: seconds until the actors were up, and seconds of training"""
    create_run(mlp_config(train, cluster={"live_actors": workers}), location)
    started = time.perf_counter()
    with Run(location) as run:
        run.warm_up()
        up = time.perf_counter() - started
        run.train()
        return up, run.training.seconds


def main() -> None:
    options = parser(__doc__).parse_args()
    repeats = 1 if options.smoke else 3
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, cluster_connection(mlp_config(options.train).cluster):
        ray_start = time.perf_counter() - started
        runs = {
            workers: [train_seconds(options.train, f"{folder}/{workers}-{turn}", workers) for turn in range(repeats)]
            for workers in (1, 2)
        }
    ratios = [one[1] / two[1] for one, two in zip(runs[1], runs[2], strict=True)]
    keep(
        "scaling",
        options.train,
        {
            "repeats": repeats,
            "speedup_of_two_workers": round(median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            "seconds_with_one": round(median(seconds for _, seconds in runs[1]), 2),
            "seconds_with_two": round(median(seconds for _, seconds in runs[2]), 2),
            "ray_start_seconds": round(ray_start, 2),
            "actor_start_seconds": round(median(up for up, _ in runs[2]), 2),
        },
    )


if __name__ == "__main__":
    main()
