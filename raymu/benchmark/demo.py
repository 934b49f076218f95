"""Train on the bundled letter data, and revoke with every strategy."""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.status import Status

from raymu.api import Run, train
from raymu.benchmark.compare import SCRATCH, ComparisonSetup, MethodResult, compare, rewound_generation
from raymu.benchmark.demo_result import DemoResult, DemoRow
from raymu.config import Config
from raymu.console import stage_progress
from raymu.core.records import SampleId
from raymu.core.requests import Strategy
from raymu.errors import NoVoters, RunInvalid
from raymu.output_file import atomic_write
from raymu.plots import AccuracyTimeline, plot_accuracy
from raymu.runtime.cluster import cluster_connection
from raymu.service.prediction import Ensemble
from raymu.store.codec import to_json
from raymu.store.run import RunStore

SINGLES = 20
"""Requests of one sample each, one after the other."""
BULK_SHARE = 0.01
"""Of the training samples, in one request."""
BOUNDARY = 0.85
"""Hybrid boundary of `hs` and `ohs`: a shard is retrained where its first two slices of five are untouched."""


def demo_config(folder: Path) -> Config:
    """Settings that reach 90% on the letter data in seconds. folder: where the bundled tables lie"""
    return Config.parse(
        {
            "data": {
                "train": str(folder / "letter-train.parquet"),
                "test": str(folder / "letter-test.parquet"),
                "classes": 26,
            },
            "model": {"name": "mlp", "hidden": [256]},
            "training": {"epochs": 30, "optimizer": "adam", "learning_rate": 0.003},
            "partition": {"shards": 8, "slices": 5, "seed": 7},
            "unlearning": {"boundary": BOUNDARY},
        }
    )


def run_demo(out: Path, *, is_shown: bool) -> DemoResult:
    """Run the comparison on Ray, and leave `results.json` and `accuracy-over-time.png` in `out`.

    Raises RunInvalid where `out` cannot be made.
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
        result = _compare(
            ComparisonSetup.of(config, base, Path(scratch)), run, out / "accuracy-over-time.png", is_shown=is_shown
        )
    with atomic_write(out / "results.json") as file:
        file.write_bytes(to_json(result))
    return result


def _compare(bench: ComparisonSetup, run: Run, figure: Path, *, is_shown: bool) -> DemoResult:
    chosen = np.random.default_rng(7).permutation(bench.table.ids)
    bulk = chosen[: round(BULK_SHARE * len(chosen))].tolist()
    scenarios: dict[str, list[list[SampleId]]] = {
        f"{SINGLES} requests of one sample": [[sample_id] for sample_id in bulk[:SINGLES]],
        f"{len(bulk)} samples (1%) at once": [bulk],
    }
    rows: list[DemoRow] = []
    courses: dict[str, list[AccuracyTimeline]] = {}
    trained_accuracy = bench.test_accuracy(run.predict)
    with Console(stderr=True).status("", spinner="dots") if is_shown else nullcontext() as spinner:
        for scenario, requests in scenarios.items():
            trials = compare(bench, requests, announce=partial(_announce, spinner, scenario))
            rows += _rows(scenario, trials)
            title = scenario if len(requests) == 1 else f"the first of {scenario}"
            courses[title] = _courses(bench, requests[0], trials, trained_accuracy)
    plot_accuracy(courses, figure)
    return DemoResult(
        trained_accuracy=trained_accuracy,
        shards=bench.config.partition.shards,
        slices=bench.config.partition.slices,
        train_seconds=run.training.seconds,
        rows=tuple(rows),
        figure=str(figure),
    )


def _announce(spinner: Status | None, scenario: str, method: str) -> None:
    if spinner:
        spinner.update(f"{scenario}: {method}")


def _rows(scenario: str, trials: Sequence[MethodResult]) -> list[DemoRow]:
    seconds = {trial.method: trial.seconds for trial in trials}
    return [
        DemoRow(
            scenario=scenario,
            method=trial.method,
            passes=trial.passes,
            seconds=trial.seconds,
            speedup_over_sisa=seconds[Strategy.SISA] / trial.seconds,
            speedup_over_scratch=seconds[SCRATCH] / trial.seconds,
            test_accuracy=trial.answers.test_accuracy,
            forget_accuracy=trial.answers.forget_accuracy,
            forget_loss=trial.answers.forget_loss,
            exactness=trial.exactness,
            forgotten_s=trial.forgotten_s,
            repaired_s=trial.repaired_s,
        )
        for trial in trials
    ]


def _courses(
    bench: ComparisonSetup, ids: list[SampleId], trials: Sequence[MethodResult], trained_accuracy: float
) -> list[AccuracyTimeline]:
    """Accuracy from the request's receipt on: the old generation, the rewound one, and the repaired one."""
    store = RunStore(bench.base)
    try:
        rewound = bench.test_accuracy(Ensemble(store, rewound_generation(store, ids)).predict)
    except NoVoters:
        rewound = None
    return [
        AccuracyTimeline(
            method=trial.method,
            before=trained_accuracy,
            rewound=rewound if trial.receipts else trained_accuracy,
            rewound_at_s=_seconds(trial.receipts[0].rewound_at, trial) if trial.receipts else None,
            repaired=trial.first_accuracy,
            repaired_at_s=_seconds(trial.receipts[0].published_at, trial) if trial.receipts else trial.repaired_s,
        )
        for trial in trials
        if trial.first_accuracy is not None
    ]


def _seconds(at: datetime | None, trial: MethodResult) -> float | None:
    """From the receipt of a trial's first request on."""
    return None if at is None else (at - trial.receipts[0].received_at).total_seconds()
