"""An audit with two snapshots on the terminal."""

from rich.text import Text

from raymu.console.screen import Screen, make_table
from raymu.core.audit.roc import Estimate
from raymu.service.audit.snapshot_report import NOTE, SnapshotReport
from raymu.text import plural, words


def show_two_snapshots(screen: Screen, report: SnapshotReport) -> None:
    """Print how well deleted samples are found, and how to read it."""
    numbers = ("at once", "named")
    table = make_table(
        *("model after", "at once", "AUC", "AUC, labels only", "named"),
        numbers=numbers,
        unbroken=("model after", "AUC", "AUC, labels only"),
        title=f"finding deleted samples from predictions before and after, {plural(report.changes, 'change')} each",
    )
    for row in report.rows:
        answers, labels = row.answers.figures, row.labels_only.figures
        table.add_row(
            words(row.name),
            f"{row.group:,}",
            _interval(answers.auc),
            _interval(labels.auc),
            f"{answers.named.value:.1%}",
        )
    screen.print(table)
    screen.print(Text(NOTE.format(candidates=f"{report.candidates:,}")))
    if report.remedies:
        done = " and ".join(words(remedy) for remedy in report.remedies)
        screen.print(f"patched: by {done}, as the strategy {report.strategy} does beyond its boundary")
    if report.not_patched:
        screen.print(f"shards that were retrained instead of patched: {report.not_patched:,}")


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
