"""What the demonstration comes to, and the tables that show it."""

from dataclasses import dataclass

from rich import box
from rich.table import Table

from raymu.console import Screen


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
