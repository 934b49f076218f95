"""The result of the demonstration, and its tables."""

from dataclasses import dataclass

from rich import box
from rich.table import Table

from raymu.console.screen import Screen


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoRow:
    """One method on the requests of one scenario."""

    scenario: str
    method: str
    passes: float
    """Sample passes."""
    seconds: float
    """Compute seconds, summed over shards."""
    speedup_over_sisa: float
    """Compute seconds of `sisa` divided by those of this method."""
    speedup_over_scratch: float
    """Compute seconds of training from scratch divided by those of this method."""
    test_accuracy: float
    forget_accuracy: float
    forget_loss: float
    """Mean cross-entropy of the ensemble on the forget set, in nats."""
    exactness: str
    forgotten_s: float | None
    """Median seconds from a request's receipt until the affected shards were rewound; None for a baseline."""
    repaired_s: float | None
    """Median seconds from a request's receipt until the repaired generation was published; None for the control."""


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


def show_demo(result: DemoResult, screen: Screen) -> None:
    """Print one table for each scenario."""
    screen.print(
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
        screen.print(table)
    screen.print(
        "passes: sample passes. compute: seconds, summed over shards. x SISA, x scratch: how many times less compute.\n"
        "forgotten, repaired: median seconds from a request's receipt until the affected shards were rewound, and until\n"
        "the repaired generation was published, with workers running. Training from scratch is measured once and\n"
        "counted for every request. The control fine-tunes without subtracting: it shows what no forgetting looks like\n"
        "on the forget set. A good patch comes close to the exact rows there."
    )
    screen.print(f"accuracy over time: {result.figure}")


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
