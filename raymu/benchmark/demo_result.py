"""The result of the demonstration, and its tables."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from raymu.console.screen import Screen, make_table


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoRow:
    """One method on the requests of one scenario."""

    scenario: str
    method: str
    passes: float
    """Sample passes."""
    seconds: float
    """Compute seconds, summed over shards."""
    speedup_over_sisa: float | None
    """Compute seconds of `sisa` divided by those of this method; None for the untouched model, which costs nothing."""
    speedup_over_scratch: float | None
    """Compute seconds of training from scratch divided by those of this method; None for the untouched model."""
    test_accuracy: float
    forget_accuracy: float
    forget_loss: float
    """Mean cross-entropy of the ensemble on the forget set, in nats."""
    forget_distance: float
    """Mean difference in the true label's probability from the oracle, on the forget set."""
    forget_distance_error: float
    """Standard error of this mean over the forgotten samples."""
    exactness: str
    forgotten_s: float | None
    """Median seconds from a request's receipt until the affected shards were rewound; None for a baseline."""
    repaired_s: float | None
    """Median seconds from a request's receipt until the repaired generation was published; None for models that repair
    nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """The comparison on the letter data."""

    trained_accuracy: float
    """Test accuracy before anything is revoked."""
    shards: int
    slices: int
    train_seconds: float
    rows: tuple[DemoRow, ...]
    figure: str
    """Path of the figure."""
    config: str
    """Path of settings with which the same run is trained, beside its tables."""


def show_demo(result: DemoResult, screen: Screen) -> None:
    """Print two tables for each scenario: what each method costs, and what it leaves."""
    screen.print(
        f"Letter data, {result.shards} shards x {result.slices} slices, trained on Ray in {result.train_seconds:.1f} s "
        f"to {result.trained_accuracy:.2%} test accuracy"
    )
    for scenario in dict.fromkeys(row.scenario for row in result.rows):
        rows = [row for row in result.rows if row.scenario == scenario]
        costs = make_table("method", *_COSTS, numbers=_COSTS, title=f"\n{scenario}: cost")
        models = make_table(
            "method", *_MODELS, "result", numbers=_MODELS, unbroken=("result",), title=f"\n{scenario}: model"
        )
        for row in rows:
            costs.add_row(row.method, *_cost_cells(row))
            models.add_row(row.method, *_model_cells(row), row.exactness)
        screen.print(costs)
        screen.print(models)
    screen.print(
        "passes: sample passes. compute: seconds, summed over shards. x sisa, x scratch: how many times less compute. "
        "rewound, repaired: median seconds from a request's receipt until the affected shards were rewound, and until "
        "the repaired generation was published, with workers running. Training from scratch is measured once and "
        "counted for every request. distance: mean difference in the true label's probability on the forget set from the "
        "model trained from scratch. Three models show what a distance means: another seed trained from scratch is the "
        "floor, the untouched model forgot nothing, and the control fine-tunes without subtracting anything."
    )
    screen.print(f"compute and distance: {result.figure}")
    screen.print("next, a run of your own:")
    for command in next_commands(result.config):
        screen.print_unwrapped(f"  {command}")


def next_commands(config: str) -> tuple[str, ...]:
    """Return what to type after the demonstration: from training to a verified deletion."""
    run = Path(config).parent / "run"
    settings, place = shlex.quote(config), shlex.quote(str(run))
    return (
        f"raymu train {settings} {place}",
        f"raymu revoke {place} --id 17 --id 4021",
        f"raymu settle {place}",
        f"raymu verify {place}",
    )


_COSTS = ("passes", "compute s", "x sisa", "x scratch", "rewound s", "repaired s")
_MODELS = ("test %", "forget set %", "forget loss", "distance")


def _cost_cells(row: DemoRow) -> tuple[str, ...]:
    return (
        f"{row.passes:,.0f}",
        f"{row.seconds:.2f}",
        _ratio(row.speedup_over_sisa),
        _ratio(row.speedup_over_scratch),
        "-" if row.forgotten_s is None else f"{row.forgotten_s:.3f}",
        "-" if row.repaired_s is None else f"{row.repaired_s:.3f}",
    )


def _model_cells(row: DemoRow) -> tuple[str, ...]:
    return (
        f"{100 * row.test_accuracy:.2f}",
        f"{100 * row.forget_accuracy:.1f}",
        f"{row.forget_loss:.3f}",
        f"{row.forget_distance:.3f}",
    )


def _ratio(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
