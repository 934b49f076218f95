"""The demonstration: train on the bundled letter data, and compare every strategy."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from raymu.api import Run
from raymu.benchmark.compare import (
    BASELINES,
    SCRATCH,
    STRATEGIES,
    ComparisonSetup,
    MethodResult,
    Requests,
    compare,
)
from raymu.benchmark.demo_result import DemoResult, DemoRow
from raymu.config import Config
from raymu.config.unlearning import Strategy
from raymu.console.progress import phase_progress, stage_progress
from raymu.core.records import SampleId
from raymu.errors import RunInvalid
from raymu.new_run import train
from raymu.output_file import atomic_write
from raymu.plots import MethodCost, plot_costs, save_figure
from raymu.runtime.cluster import cluster_connection
from raymu.store.codec import to_json

SINGLES = 20
"""Number of requests of one sample each, one after the other."""
BULK_SHARE = 0.01
"""Share of the training samples that one request names."""
BOUNDARY = 0.85
"""Hybrid boundary of `hs` and `ohs`. A shard is retrained if its first two slices of five are untouched."""


TABLES = ("letter-train.parquet", "letter-test.parquet")
"""Bundled tables: samples to train on, and to test with."""


def demo_config(folder: Path) -> Config:
    """Return settings that reach 92% test accuracy on the letter data in seconds. The bundled tables are in `folder`."""
    return Config.parse(_settings(*(str(folder / table) for table in TABLES)))


def write_demo_config(folder: Path) -> Path:
    """Write the settings of the demonstration into a folder, with copies of its tables, and return the file.

    So the next commands work on any machine: an installed raymu has no examples.
    """
    with resources.as_file(resources.files("raymu") / "datasets") as bundled:
        for table in TABLES:
            with atomic_write(folder / table) as file:
                file.write_bytes((bundled / table).read_bytes())
    with atomic_write(folder / "letter.yaml") as file:
        file.write_text(yaml.safe_dump(_settings(*TABLES), sort_keys=False), encoding="utf-8")
    return folder / "letter.yaml"


def _settings(train_table: str, test_table: str) -> dict[str, Any]:
    return {
        "data": {"train": train_table, "test": test_table, "classes": 26},
        "model": {"name": "mlp", "hidden": [256]},
        "training": {
            "epochs": 30,
            "optimizer": "adam",
            "learning_rate": 0.01,
            "schedule": {"name": "linear", "per": "step"},
        },
        "partition": {"shards": 8, "slices": 5, "seed": 7},
        "unlearning": {"boundary": BOUNDARY},
    }


def run_demo(out: Path, *, is_shown: bool) -> DemoResult:
    """Run the comparison on Ray. `out` gets its results, its figure, and the settings and tables to go on with.

    Raises:
        RunInvalid: `out` cannot be created.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunInvalid(str(out), f"cannot be made ({error.strerror}); name another --out") from error
    with (
        resources.as_file(resources.files("raymu") / "datasets") as folder,
        tempfile.TemporaryDirectory(prefix="raymu-demo-") as scratch,
        cluster_connection(demo_config(folder).cluster),
    ):
        config, base = demo_config(folder), str(Path(scratch) / "base")
        with stage_progress(is_shown=is_shown) as progress:
            run = train(config, base, progress=progress)
        run.close()
        setup = ComparisonSetup.of(config, base, Path(scratch))
        with phase_progress("methods", is_shown=is_shown) as (count, phase):
            result = _compare(setup, run, out, count, phase)
    with atomic_write(out / "results.json") as file:
        file.write_bytes(to_json(result))
    return result


def _scenarios(setup: ComparisonSetup) -> dict[str, Requests]:
    ids = np.random.default_rng(7).permutation(setup.table.ids)
    bulk: list[SampleId] = ids[: round(BULK_SHARE * len(ids))].tolist()
    return {
        f"{SINGLES} requests of one sample": [[sample_id] for sample_id in bulk[:SINGLES]],
        f"{len(bulk)} samples (1%) at once": [bulk],
    }


def _compare(
    setup: ComparisonSetup, run: Run, out: Path, count: Callable[[int, int], None], phase: Callable[[str], None]
) -> DemoResult:
    rows: list[DemoRow] = []
    scenarios, begun = _scenarios(setup), 0
    methods = len(scenarios) * len((*STRATEGIES, *BASELINES))

    def announce(scenario: str, method: str) -> None:
        nonlocal begun
        count(begun, methods)
        phase(f"{method}, {scenario}")
        begun += 1

    costs: dict[str, list[MethodCost]] = {}
    trained_accuracy = setup.test_accuracy(run.predict)
    for scenario, requests in scenarios.items():
        results = compare(setup, requests, announce=partial(announce, scenario))
        measured = _rows(scenario, results)
        rows += measured
        costs[scenario] = [
            MethodCost(
                method=row.method, seconds=row.seconds, distance=row.forget_distance, error=row.forget_distance_error
            )
            for row in measured
        ]
    figure = out / "cost-and-distance.png"
    save_figure(plot_costs(costs), figure)
    return DemoResult(
        trained_accuracy=trained_accuracy,
        shards=setup.config.partition.shards,
        slices=setup.config.partition.slices,
        train_seconds=run.training.seconds,
        rows=tuple(rows),
        figure=str(figure),
        config=str(write_demo_config(out)),
    )


def _rows(scenario: str, results: Sequence[MethodResult]) -> list[DemoRow]:
    seconds = {result.method: result.seconds for result in results}
    [oracle] = [result.predictions.forget for result in results if result.method == SCRATCH]
    gaps = {result.method: np.abs(result.predictions.forget - oracle) for result in results}
    return [
        DemoRow(
            scenario=scenario,
            method=result.method,
            passes=result.passes,
            seconds=result.seconds,
            speedup_over_sisa=seconds[Strategy.SISA] / result.seconds if result.seconds else None,
            speedup_over_scratch=seconds[SCRATCH] / result.seconds if result.seconds else None,
            test_accuracy=result.predictions.test_accuracy,
            forget_accuracy=result.predictions.forget_accuracy,
            forget_loss=result.predictions.forget_loss,
            forget_distance=float(gaps[result.method].mean()),
            forget_distance_error=float(gaps[result.method].std(ddof=1) / np.sqrt(len(oracle))),
            exactness=result.exactness,
            forgotten_s=result.forgotten_s,
            repaired_s=result.repaired_s,
        )
        for result in results
    ]
