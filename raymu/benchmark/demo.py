"""The demonstration: train on the bundled letter data, and compare every strategy."""

import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np

from raymu.api import Run, train
from raymu.benchmark.compare import (
    CONTROL,
    SCRATCH,
    STRATEGIES,
    ComparisonSetup,
    MethodResult,
    Requests,
    compare,
    rewound_generation,
)
from raymu.benchmark.demo_result import DemoResult, DemoRow
from raymu.config import Config
from raymu.config.unlearning import Strategy
from raymu.console.progress import phase_progress, stage_progress
from raymu.core.records import SampleId
from raymu.core.trust import EVERYTHING
from raymu.errors import NoVoters, RunInvalid
from raymu.output_file import atomic_write
from raymu.plots import AccuracyTimeline, plot_accuracy, save_figure
from raymu.runtime.cluster import cluster_connection
from raymu.service.prediction import Ensemble
from raymu.store.codec import to_json
from raymu.store.run import RunStore

SINGLES = 20
"""Number of requests of one sample each, one after the other."""
BULK_SHARE = 0.01
"""Share of the training samples that one request names."""
BOUNDARY = 0.85
"""Hybrid boundary of `hs` and `ohs`. A shard is retrained if its first two slices of five are untouched."""


def demo_config(folder: Path) -> Config:
    """Return settings that reach 92% test accuracy on the letter data in seconds. The bundled tables are in `folder`."""
    return Config.parse(
        {
            "data": {
                "train": str(folder / "letter-train.parquet"),
                "test": str(folder / "letter-test.parquet"),
                "classes": 26,
            },
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
    )


def run_demo(out: Path, *, is_shown: bool) -> DemoResult:
    """Run the comparison on Ray, and write `results.json` and `accuracy-over-time.png` to `out`.

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
        with stage_progress(shards=config.partition.shards, is_shown=is_shown) as progress:
            run = train(config, base, progress=progress)
        run.close()
        setup = ComparisonSetup.of(config, base, Path(scratch))
        with phase_progress("methods", is_shown=is_shown) as (count, phase):
            result = _compare(setup, run, out / "accuracy-over-time.png", count, phase)
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
    setup: ComparisonSetup, run: Run, figure: Path, count: Callable[[int, int], None], phase: Callable[[str], None]
) -> DemoResult:
    rows: list[DemoRow] = []
    scenarios, begun = _scenarios(setup), 0
    methods = len(scenarios) * len((*STRATEGIES, SCRATCH, CONTROL))

    def announce(scenario: str, method: str) -> None:
        nonlocal begun
        count(begun, methods)
        phase(f"{scenario}: {method}")
        begun += 1

    timelines: dict[str, list[AccuracyTimeline]] = {}
    trained_accuracy = setup.test_accuracy(run.predict)
    for scenario, requests in scenarios.items():
        results = compare(setup, requests, announce=partial(announce, scenario))
        rows += _rows(scenario, results)
        title = scenario if len(requests) == 1 else f"the first of {scenario}"
        timelines[title] = _timelines(setup, requests[0], results, trained_accuracy)
    save_figure(plot_accuracy(timelines), figure)
    return DemoResult(
        trained_accuracy=trained_accuracy,
        shards=setup.config.partition.shards,
        slices=setup.config.partition.slices,
        train_seconds=run.training.seconds,
        rows=tuple(rows),
        figure=str(figure),
    )


def _rows(scenario: str, results: Sequence[MethodResult]) -> list[DemoRow]:
    seconds = {result.method: result.seconds for result in results}
    return [
        DemoRow(
            scenario=scenario,
            method=result.method,
            passes=result.passes,
            seconds=result.seconds,
            speedup_over_sisa=seconds[Strategy.SISA] / result.seconds,
            speedup_over_scratch=seconds[SCRATCH] / result.seconds,
            test_accuracy=result.predictions.test_accuracy,
            forget_accuracy=result.predictions.forget_accuracy,
            forget_loss=result.predictions.forget_loss,
            exactness=result.exactness,
            forgotten_s=result.forgotten_s,
            repaired_s=result.repaired_s,
        )
        for result in results
    ]


def _timelines(
    setup: ComparisonSetup, ids: Sequence[SampleId], results: Sequence[MethodResult], trained_accuracy: float
) -> list[AccuracyTimeline]:
    """Return the accuracy of the old, the rewound and the repaired generation of the first request, for each method."""
    store = RunStore(setup.base, trust=EVERYTHING)
    try:
        rewound = setup.test_accuracy(Ensemble(store, rewound_generation(store, ids)).predict)
    except NoVoters:
        rewound = None
    return [
        AccuracyTimeline(
            method=result.method,
            before=trained_accuracy,
            rewound=rewound if result.receipts else trained_accuracy,
            rewound_at_s=_seconds_until(result.receipts[0].rewound_at, result) if result.receipts else None,
            repaired=result.first_accuracy,
            repaired_at_s=(
                _seconds_until(result.receipts[0].published_at, result) if result.receipts else result.repaired_s
            ),
        )
        for result in results
        if result.first_accuracy is not None
    ]


def _seconds_until(at: datetime | None, result: MethodResult) -> float | None:
    """Return the seconds from the receipt of the first request until `at`."""
    return None if at is None else (at - result.receipts[0].received_at).total_seconds()
