"""A run on the terminal: its training, its status, and what settling, rebuilding and verifying it did."""

import statistics
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from rich.text import Text

from raymu.console.screen import LATE_STYLE, Screen, make_table, verdict_text
from raymu.console.table import ResultTable
from raymu.core.deadlines import Deadline
from raymu.core.residuals import Residuals
from raymu.service.coordinator.calls import ExtendResult, RebuildResult, SettleResult, TrainingResult
from raymu.service.shard.messages import ShardLocation
from raymu.service.status import RunStatus
from raymu.text import duration, durations, one_line, plural, words

if TYPE_CHECKING:
    from raymu.service.prediction import Evaluation
    from raymu.service.verify.verify import Verification

_MAX_FINDINGS = 8
"""Most findings that are printed of one check."""
_MAX_DEADLINES = 20
_MAX_SHARDS = 8
"""Most shards that are listed in one cell."""


_MEASURED = {
    "loss": "training loss",
    "validation_loss": "loss on held-out samples",
    "validation_score": "score on held-out samples",
}


def show_training(screen: Screen, report: TrainingResult, location: str) -> None:
    """Print the trained run, its location and the cost."""
    screen.print(
        f"trained {plural(report.samples, 'sample')} into {location}: {report.passes:,.0f} sample passes, "
        f"{duration(report.compute_seconds)} of compute in {duration(report.seconds)}"
    )
    last = max((stage.stage for stage in report.stages), default=0)
    measured = [stage.measured for stage in report.stages if stage.stage == last]
    for name, text in _MEASURED.items():
        values = [stage[name] for stage in measured if name in stage]
        if values:
            screen.print(
                f"{text} of the last stage: {statistics.mean(values):.4g}, mean of {plural(len(values), 'shard')}"
            )
    if report.left_out:
        screen.print(f"left out {plural(report.left_out, 'sample')} that other runs revoked, by id or by owner")


def show_status(screen: Screen, status: RunStatus, *, unknown_locations: str | None = None) -> None:
    """Print the state that every shard serves, the number of requests at each stage, and the deadlines.

    Args:
        unknown_locations: Why it is not known on which nodes the shards are.
    """
    screen.print(f"run {one_line(status.name)}, id {status.run_id}, generation {status.generation}")
    screen.print(_shards(status))
    if status.untrained_slices:
        added = plural(status.untrained_slices, "added slice")
        screen.print(f"{added} not trained yet; unless a coordinator is at work, run `raymu settle`")
    for reason in status.inexact:
        screen.print(Text(f"inconclusive, not exact: {one_line(reason)}", style=LATE_STYLE))
    if unknown_locations:
        screen.print(f"the nodes of the shards are not known: {unknown_locations}")
    if status.coordinator:
        what = "a coordinator is up" if status.coordinator.is_detached else "a command is at work"
        screen.print(f"{what}: {status.coordinator}")
    counts = status.requests
    screen.print(
        f"requests: {counts.accepted} accepted, {counts.published} published, {counts.purged} purged, "
        f"{counts.settled} settled"
    )
    if status.requests.accepted > status.requests.published:
        waiting = plural(status.requests.accepted - status.requests.published, "accepted request")
        screen.print(f"{waiting} not carried out yet; unless a coordinator is at work, run `raymu settle`")
    if counts.overdue:
        text = f"{plural(counts.overdue, 'request')} overdue: run `raymu settle` now"
        screen.print(Text(text, style=LATE_STYLE))
    if counts.missed:
        text = f"{plural(counts.missed, 'request')} not exact when due; `raymu report` shows which"
        screen.print(Text(text, style=LATE_STYLE))
    screen.print(f"debt: {plural(status.debt.shards, 'shard')}, {status.debt.retrain_passes:,} passes to retrain")
    if status.group:
        screen.print(str(status.group))
    if status.paces:
        screen.print(_forecast_errors(status))
    if status.residuals.patches:
        screen.print(_residuals(status.residuals))
        screen.print(
            "mean difference of the true label's probability. Forgotten samples are destroyed before a patch is settled, so "
            "its residual is known on others only."
        )
        if ratio := status.residuals.over_untouched:
            screen.print(
                f"patched states were {ratio:.2f} times as far from retraining as untouched ones, on unseen samples"
            )
    if status.deadlines:
        screen.print(_deadlines(status.deadlines))
    late = sum(deadline.is_late for deadline in status.deadlines) - counts.overdue
    if late > 0:
        text = f"{plural(late, 'request')} will be exact too late; run `raymu settle` now, or add workers"
        screen.print(Text(text, style=LATE_STYLE))


def show_stopped(screen: Screen, run: str, *, was_up: bool, unsettled: Sequence[Deadline]) -> None:
    """Print that a run has no coordinator any more, and what nobody settles from now on.

    Args:
        screen: The terminal.
        run: The run.
        was_up: Whether it had one.
        unsettled: Deadlines of the requests that are not exact yet, the earliest first.
    """
    screen.print(f"stopped the coordinator of {run}" if was_up else f"no coordinator of {run} was up on this cluster")
    if unsettled:
        first = f"{unsettled[0].due_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        are = "is" if len(unsettled) == 1 else "are"
        text = f"{plural(len(unsettled), 'request')} {are} not exact yet, the first due {first}, and nobody settles them now"
        screen.print(Text(f"{text}: run `raymu settle` before, or `raymu start` again", style=LATE_STYLE))


def show_settlement(screen: Screen, report: SettleResult) -> None:
    """Print which requests are exact now, and at what cost."""
    screen.print(f"settled {plural(len(report.request_ids), 'request')}: retrained {_work(report)}")
    if report.missed:
        shown = ", ".join(report.missed[:3]) + (", ..." if len(report.missed) > 3 else "")
        text = f"{plural(len(report.missed), 'request')} of these became exact only after the due date: {shown}"
        screen.print(Text(text, style=LATE_STYLE))


def show_rebuild(screen: Screen, report: RebuildResult) -> None:
    """Print how many files were missing or changed, and what restoring them cost."""
    screen.print(f"missing or changed: {plural(len(report.files), 'file')}; retrained {_work(report)}")


def show_extension(screen: Screen, report: ExtendResult) -> None:
    """Print how many samples were added, and what training on them cost."""
    screen.print(
        f"added {plural(report.samples, 'sample')}, which makes {plural(report.slices, 'slice')}: trained {_work(report)}"
    )
    if report.left_out:
        screen.print(f"left out {plural(report.left_out, 'sample')} that this run revoked, by id or by owner")


def show_verification(screen: Screen, verification: "Verification") -> None:
    """Print the verdict of every check, the findings, and the anchor."""
    table = make_table(
        *("check", "objects", "verdict"), numbers=("objects",), title=f"generation {verification.generation}"
    )
    for check in verification.checks:
        table.add_row(check.name, f"{check.checked:,}", verdict_text(check.verdict))
    screen.print(table)
    for check in verification.checks:
        for finding in check.findings[:_MAX_FINDINGS]:
            screen.print(f"{check.name}: {finding.verdict}: {finding.what}")
        if len(check.findings) > _MAX_FINDINGS:
            screen.print(f"{check.name}: {len(check.findings) - _MAX_FINDINGS} more; --json shows all of them")
    screen.print(Text.assemble("verdict: ", verdict_text(verification.verdict)))
    if verification.anchor:
        screen.print("anchor; keep it outside of the run, and pass it to the next verification with --anchor:")
        screen.print_unwrapped(verification.anchor)


def show_evaluation(screen: Screen, evaluation: "Evaluation") -> None:
    """Print the accuracy of the ensemble, and the range of its constituents."""
    alone = evaluation.constituent_accuracy.values()
    name, form = ("R2", ".4f") if "rmse" in evaluation.metrics else ("accuracy", ".2%")
    screen.print(
        f"{name} {evaluation.accuracy:{form}} on {plural(evaluation.samples, 'sample')} "
        f"(generation {evaluation.generation}); each of {plural(len(alone), 'constituent')} alone: "
        f"{min(alone):{form}} to {max(alone):{form}}"
    )
    others = [
        f"{one_line(metric.replace('_', ' '))} {value:.4g}"
        for metric, value in evaluation.metrics.items()
        if metric not in ("accuracy", "r2")
    ]
    if others:
        screen.print("; ".join(others))


def _shards(status: RunStatus) -> ResultTable:
    """Make the table of the shards, with their nodes if a coordinator named some."""
    has_locations = any(shard.place for shard in status.shards)
    table = make_table(
        *("shard", "samples", "state", "debt from slice", "weights", *(["location"] if has_locations else [])),
        numbers=("shard", "samples", "debt from slice"),
        shortened=("weights",),
    )
    for shard in status.shards:
        debt = "" if shard.tainted_from is None else str(shard.tainted_from)
        row = [str(shard.shard), f"{shard.samples:,}", shard.state, debt, (shard.weights_sha256 or "")[:12]]
        table.add_row(*row, *([_location(shard.place)] if has_locations else []))
    return table


def _location(location: ShardLocation | None) -> str:
    if location is None:
        return "disk"
    gpus = f", GPU {'+'.join(location.gpus)}" if location.gpus else ""
    workers = f", trained by {location.workers} workers" if location.workers > 1 else ""
    return f"{location.node}{gpus}, {location.device}{workers}{', running' if location.is_at_work else ''}"


def _forecast_errors(status: RunStatus) -> ResultTable:
    """Make the table of what remedies cost and were forecast to cost."""
    headings = ("remedy", "repairs", "forecast", "actual", "as likely")
    table = make_table(*headings, numbers=headings[1:], title="\ncompute of all repairs")
    table.caption = "as likely: repairs within the interval that `raymu plan` gives; it should hold nine of ten"
    costs = status.paces.values()
    forecast_s, actual_s = (
        durations([cost.forecast_seconds for cost in costs]),
        durations([cost.seconds for cost in costs]),
    )
    for (remedy, cost), forecast, actual in zip(status.paces.items(), forecast_s, actual_s, strict=True):
        table.add_row(
            words(remedy),
            f"{cost.remedies:,}",
            forecast,
            actual,
            f"{cost.within:,}",
        )
    return table


def _residuals(residuals: Residuals) -> ResultTable:
    """Make the table of how far patched states were from the retrained ones, beside what patches and retrainings changed."""
    headings = ("predictions of two states", "repairs", "forgotten", "retained", "unseen")
    table = make_table(
        *headings,
        numbers=headings[1:],
        title=f"\nhow well patches forgot: {residuals.settled} of {residuals.patches} settled",
    )
    for states, mean in (
        ("patched and retrained", residuals.residual),
        ("untouched and retrained", residuals.untouched),
        ("before and after a patch", residuals.patched),
    ):
        changes = (mean.change.forgotten, mean.change.retained, mean.change.unseen)
        row = ["" if change is None else f"{change:.4f}" for change in changes]
        table.add_row(states, f"{mean.repairs:,}", *row)
    return table


def _deadlines(deadlines: Sequence[Deadline]) -> ResultTable:
    """Make the table of the requests that are not exact yet."""
    table = make_table(
        *("request", "due (UTC)", "shards", "exact after", ""),
        numbers=("exact after",),
        unbroken=("due (UTC)", ""),
        shortened=("request",),
        title="\nrequests that are not exact yet",
    )
    shown = deadlines[:_MAX_DEADLINES]
    exact_after_s = durations([deadline.exact_after_s for deadline in shown])
    for deadline, exact_after in zip(shown, exact_after_s, strict=True):
        shards = ", ".join(str(shard) for shard in deadline.shards[:_MAX_SHARDS])
        table.add_row(
            deadline.request_id,
            f"{deadline.due_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            shards + (", ..." if len(deadline.shards) > _MAX_SHARDS else ""),
            exact_after,
            _deadline_text(deadline),
        )
    if len(deadlines) > _MAX_DEADLINES:
        table.caption = f"and {len(deadlines) - _MAX_DEADLINES} more"
    return table


def _deadline_text(deadline: Deadline) -> str | Text:
    if deadline.is_overdue:
        return Text("overdue", style=LATE_STYLE)
    return Text("late", style=LATE_STYLE) if deadline.is_late else "in time"


def _work(report: SettleResult | RebuildResult | ExtendResult) -> str:
    return (
        f"{plural(len(report.shards), 'shard')}, {report.passes:,.0f} passes, "
        f"{duration(report.compute_seconds)} of compute; generation {report.generation}"
    )
