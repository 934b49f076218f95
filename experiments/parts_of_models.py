"""What does it save to train a part of a model, and what accuracy does it cost?

Method: a convolutional network on 2,000 samples of Fashion-MNIST, with four shards x five slices. Either everything is
trained, or low-rank adapters of its linear layer and the head, or the head alone. **All weights begin at random**, those that
stay frozen too: a backbone that was trained elsewhere would cost far less accuracy. A request revokes one sample of the first
slice, so that a whole shard is trained again. `checkpoint_bytes` is the mean size of a slice checkpoint, `base_bytes` that of
the frozen weights, which a run stores once. Three seeds. Compute is of one thread. It takes three minutes on two cores.

Conclusion: frozen weights leave the checkpoints, and a head is trained in a tenth of the time, since a sample goes through
the backbone once. Random frozen weights cost most of the accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.plots import panels, plot_spread
from experiments.setups import Setup, setup_columns, trained
from raymu import open_run
from raymu.core.partition import homes
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore

_CNN: Mapping[str, Any] = {"name": "cnn", "channels": [8, 16], "hidden": 64}
PARTS: Mapping[str, Mapping[str, Any]] = {
    "all": _CNN,
    "adapters": {**_CNN, "trainable": "adapters", "adapters": {"rank": 8}},
    "head": {**_CNN, "trainable": "head"},
}
MEASURES = (
    ("accuracy", "accuracy, %", 100.0),
    ("checkpoint_bytes", "bytes of a checkpoint, kB", 1e-3),
    ("retrain_seconds", "seconds to retrain a shard", 1.0),
)
SAMPLES = {"fashion-mnist": 2000}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    setup: Setup
    part: str

    def __str__(self) -> str:
        return f"{self.setup}, {self.part}"


def measure(options: Options) -> list[Row]:
    setups = options.setups(model="cnn", samples=SAMPLES)
    return map_concurrently(measure_part, [Job(setup=setup, part=part) for setup in setups for part in PARTS], options)


def measure_part(job: Job) -> list[Row]:
    torch.set_num_threads(1)
    with trained(job.setup, model=PARTS[job.part]) as comparison:
        store = RunStore(comparison.base)
        lineages = store.current().lineages
        accuracy = Ensemble.current(store).evaluate(comparison.test_features, comparison.test_labels).accuracy
        files = [checkpoint.file for lineage in lineages for checkpoint in lineage.checkpoints if checkpoint]
        sizes = [len(store.files.read(file.path)) for file in files]
        shards, slices = homes(comparison.table.ids.tolist(), comparison.config.partition)
        in_first = comparison.table.ids[(shards == 0) & (slices == 0)]
        with open_run(comparison.base) as run:
            receipt = run.revoke(ids=[in_first[0].item()], strategy="sisa")
        base = store.manifest.base
        return [
            {
                **setup_columns(job.setup, comparison),
                "trained": job.part,
                "accuracy": accuracy,
                "checkpoint_bytes": float(np.mean(sizes)),
                "base_bytes": len(store.files.read(base.path)) if base else 0,
                "retrain_seconds": sum(part.seconds for part in receipt.shards),
            }
        ]


def summary(rows: pd.DataFrame) -> str:
    cells = []
    for part in PARTS:
        measured = rows[rows["trained"] == part]
        cells.append(
            f"{part}: {measured['accuracy'].mean():.1%} accuracy, {measured['checkpoint_bytes'].mean() / 1e3:.0f} kB a "
            f"checkpoint, {measured['retrain_seconds'].mean():.1f} s to retrain a shard"
        )
    return f"Fashion-MNIST, random frozen weights, by what is trained: {'; '.join(cells)}"


def draw(rows: pd.DataFrame) -> Figure:
    figure, axes = panels(1, 3, width=3.0)
    for panel, (column, label, scale) in zip(axes, MEASURES, strict=True):
        plot_spread(panel, rows, "trained", column, scale=scale, order=list(PARTS), linestyle="none", marker="o")
        panel.set_xticks(range(len(PARTS)), list(PARTS))
        panel.set_xlabel("what is trained")
        panel.set_ylabel(label)
        panel.grid(visible=False, axis="x")
    return figure


EXPERIMENT = Experiment(
    name="parts_of_models",
    doc=__doc__,
    results=("parts_of_models.csv",),
    summary=summary,
    figures={"parts_of_models": draw},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=("fashion-mnist",))
