"""The demonstration: train on real data, revoke with every strategy, and show what each cost."""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table

from raymu.api import Run, train
from raymu.comparison import SCRATCH, Bench, Trial, compare
from raymu.config import Config
from raymu.console import Screen, stage_progress
from raymu.core.records import SampleId
from raymu.core.requests import Strategy
from raymu.errors import NoVoters, RunInvalid
from raymu.figure import AccuracyCourse, draw_courses
from raymu.runtime.cluster import cluster_connection
from raymu.service.prediction import Ensemble, rewound_generation
from raymu.store.codec import to_json
from raymu.store.run import RunStore

SINGLES = 20
"""Requests of one sample each, one after the other."""
BULK_SHARE = 0.01
"""Of the training samples, in one request."""
BOUNDARY = 0.85
"""Hybrid boundary of `hs` and `ohs`: a shard is retrained where its first two slices of five are untouched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoRow:
    """One way to honour the requests of one scenario.

    passes, seconds: of compute; speed-ups: ratios of seconds; accuracies: shares of correct answers
    forget_loss: of the ensemble on the forget set, mean cross-entropy in nats
    forgotten_s, repaired_s: median seconds from a request's receipt; None for what has no such moment
    """

    scenario: str
    method: str
    passes: float
    seconds: float
    speedup_over_sisa: float
    speedup_over_scratch: float
    test_accuracy: float
    forget_accuracy: float
    forget_loss: float
    exactness: str
    forgotten_s: float | None
    repaired_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """trained_accuracy: on the test set, before anything is revoked"""

    trained_accuracy: float
    shards: int
    slices: int
    train_seconds: float
    rows: tuple[DemoRow, ...]
    figure: str


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
        result = _compare(Bench.of(config, base, Path(scratch)), run, out / "accuracy-over-time.png", is_shown=is_shown)
    (out / "results.json").write_bytes(to_json(result))
    return result


def _compare(bench: Bench, run: Run, figure: Path, *, is_shown: bool) -> DemoResult:
    chosen = np.random.default_rng(7).permutation(bench.table.ids)
    bulk = chosen[: round(BULK_SHARE * len(chosen))].tolist()
    scenarios: dict[str, list[list[SampleId]]] = {
        f"{SINGLES} requests of one sample": [[sample_id] for sample_id in bulk[:SINGLES]],
        f"{len(bulk)} samples (1%) at once": [bulk],
    }
    rows: list[DemoRow] = []
    courses: dict[str, list[AccuracyCourse]] = {}
    trained_accuracy = bench.test_accuracy(run.predict)
    with Console(stderr=True).status("", spinner="dots") if is_shown else nullcontext() as spinner:
        for scenario, requests in scenarios.items():
            trials = compare(bench, requests, announce=partial(_announce, spinner, scenario))
            rows += _rows(scenario, trials)
            title = scenario if len(requests) == 1 else f"the first of {scenario}"
            courses[title] = _courses(bench, requests[0], trials, trained_accuracy)
    draw_courses(courses, figure)
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


def _rows(scenario: str, trials: Sequence[Trial]) -> list[DemoRow]:
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
    bench: Bench, ids: list[SampleId], trials: Sequence[Trial], trained_accuracy: float
) -> list[AccuracyCourse]:
    """Accuracy from the request's receipt on: the old generation, the rewound one, and the repaired one."""
    store = RunStore(bench.base)
    try:
        rewound = bench.test_accuracy(Ensemble(store, rewound_generation(store, ids)).predict)
    except NoVoters:
        rewound = None
    return [
        AccuracyCourse(
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


def _seconds(at: datetime | None, trial: Trial) -> float | None:
    """From the receipt of a trial's first request on."""
    return None if at is None else (at - trial.receipts[0].received_at).total_seconds()


def show_demo(result: DemoResult, screen: Screen) -> None:
    """The result as tables, one for each scenario."""
    screen.say(
        f"Letter data, {result.shards} shards x {result.slices} slices, trained on Ray in {result.train_seconds:.1f} s "
        f"to {result.trained_accuracy:.2%} test accuracy"
    )
    for scenario in dict.fromkeys(row.scenario for row in result.rows):
        table = Table(
            title=f"\n{scenario}", title_justify="left", box=box.SIMPLE_HEAD, padding=0, collapse_padding=True
        )
        table.add_column("method")
        for heading in _HEADINGS:
            table.add_column(heading, justify="right", overflow="fold")
        for row in result.rows:
            if row.scenario == scenario:
                table.add_row(*_cells(row))
        screen.show(table)
    screen.say(
        "passes: sample passes; compute: seconds, summed over shards; x SISA, x scratch: how many times less compute than "
        "these;\nforgotten, repaired: median seconds from a request's receipt until the touched shards were rewound, and "
        "until the repaired\ngeneration was published, the workers being up. From scratch is measured once, and counted for "
        "every request.\nThe control only fine-tunes, and subtracts nothing: it shows what no forgetting looks like on the "
        "forget set;\na patch should come close to the exact rows there."
    )
    screen.say(f"accuracy over time: {result.figure}")


_HEADINGS = (
    "passes",
    "compute\ns",
    "x SISA",
    "x scratch",
    "test\n%",
    "forget\nset %",
    "forget\nloss",
    "result",
    "forgotten\ns",
    "repaired\ns",
)


def _cells(row: DemoRow) -> tuple[str, ...]:
    return (
        row.method,
        f" {row.passes:,.0f}",
        f" {row.seconds:.2f}",
        f" {_ratio(row.speedup_over_sisa)}",
        f" {_ratio(row.speedup_over_scratch)}",
        f" {100 * row.test_accuracy:.2f}",
        f" {100 * row.forget_accuracy:.1f}",
        f" {row.forget_loss:.3f}",
        f" {row.exactness}",
        " -" if row.forgotten_s is None else f" {row.forgotten_s:.3f}",
        " -" if row.repaired_s is None else f" {row.repaired_s:.3f}",
    )


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
