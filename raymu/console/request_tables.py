"""Requests on the terminal: their receipts, their forecasts, and the outcomes of a table of them."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from raymu.console.screen import Screen, make_table
from raymu.core.prediction_change import PredictionChange
from raymu.core.receipt import Receipt, ShardReceipt
from raymu.text import duration, durations, forecast_range, one_line, plural, words

if TYPE_CHECKING:
    from raymu.service.planning.forecast import Forecast
    from raymu.service.requests.outcomes import Outcome
    from raymu.service.waiting_group import GroupWait

_MAX_REFUSALS = 20


def show_receipt(screen: Screen, receipt: Receipt, group: "GroupWait | None" = None) -> None:
    """Print the remedy of each shard of a request, and the time of each stage.

    Args:
        screen: Where it is printed.
        receipt: The receipt of the request.
        group: What the visible change of the request waits for; None if it waits for nothing.
    """
    has_residuals = any(part.residual for part in receipt.shards)
    residual = ["residual"] if has_residuals else []
    table = make_table(
        *("shard", "samples", "remedy", "result", *residual, "passes", "compute", "reason"),
        numbers=("shard", "samples", *residual, "passes", "compute"),
        unbroken=("result",),
        title=f"request {receipt.request_id}",
    )
    seconds = durations([part.seconds for part in receipt.shards])
    for part, compute in zip(receipt.shards, seconds, strict=True):
        shared = f" (shared by {plural(part.requests, 'request')})" if part.requests > 1 else ""
        table.add_row(
            str(part.shard),
            f"{part.samples:,}",
            _remedy(part),
            part.exactness,
            *([_residual(part.residual)] if has_residuals else []),
            f"{part.passes:,.0f}",
            compute,
            part.reason + shared,
        )
    screen.print(table)
    if has_residuals:
        screen.print(
            "residual: mean difference of the true label's probability between the patched state and the retrained one, on "
            "samples that neither was trained on"
        )
    screen.print(_timeline(receipt))
    screen.print(due_words(receipt))
    if group is not None:
        screen.print(str(group))


def due_words(receipt: Receipt) -> str:
    """Return when a request is due, in the zone of this machine, and whether it is overdue."""
    due = f"due {receipt.due_at.astimezone():%Y-%m-%d %H:%M %Z}"
    if receipt.came_overdue:
        return f"{due}: overdue when it came" + ("" if receipt.is_exact else ", and not exact yet")
    if receipt.is_overdue:
        return f"{due}: overdue"
    return due if receipt.due_met is None else f"{due}: exact in time" if receipt.due_met else f"{due}: exact too late"


def show_outcomes(screen: Screen, outcomes: Sequence["Outcome"]) -> None:
    """Print the first rows of a table of requests that were refused or left out, and how many were accepted."""
    for status, heading in (("refused", "refused because"), ("left out", "left out because")):
        rows = [outcome for outcome in outcomes if outcome.status == status]
        if rows:
            table = make_table("row", heading, numbers=("row",))
            for outcome in rows[:_MAX_REFUSALS]:
                table.add_row(str(outcome.row), str(outcome.result.refusal))
            screen.print(table)
    counts = Counter(outcome.status for outcome in outcomes)
    left_out = f", {counts['left out']:,} left out" if counts["left out"] else ""
    more = "; --json shows all of them" if max(counts["refused"], counts["left out"]) > _MAX_REFUSALS else ""
    accepted = f"{counts['accepted']:,} of {plural(len(outcomes), 'request')} accepted"
    screen.print(f"{accepted}, {counts['refused']:,} refused{left_out}{more}")
    overdue = [outcome for outcome in outcomes if outcome.result.came_overdue]
    if overdue:
        shown = ", ".join(str(outcome.row) for outcome in overdue[:_MAX_REFUSALS]) + (
            ", ..." if overdue[_MAX_REFUSALS:] else ""
        )
        screen.print(f"overdue when they came: {plural(len(overdue), 'request')} (row {shown})")


def show_left_out(screen: Screen, outcome: "Outcome") -> None:
    """Print what a request left out, and which request revoked each of its samples before."""
    if outcome.result.ignored:
        screen.print(f"left out: {outcome.result.ignored}")
    for revoked in outcome.revoked[:_MAX_REFUSALS]:
        screen.print(f"{revoked.kind} {one_line(revoked.value)}: revoked by request {revoked.request_id}")
    if outcome.revoked[_MAX_REFUSALS:]:
        screen.print(f"and {len(outcome.revoked) - _MAX_REFUSALS:,} more; --json shows all of them")


def show_forecast(screen: Screen, forecast: "Forecast") -> None:
    """Print the forecast remedy of each shard, and the cost of each strategy."""
    likely = [forecast_range(shard.interval.low_s, shard.interval.high_s) for shard in forecast.shards]
    is_wordy = any("," in text for text in likely)
    shards = make_table(
        *("shard", "samples", "slice", "remedy", "retrain", "patch", "likely", "reason"),
        numbers=("shard", "samples", "slice", "retrain", "patch"),
        unbroken=() if is_wordy else ("likely",),
        title=f"strategy {forecast.strategy}, boundary {forecast.boundary}",
    )
    retrain_s = durations([shard.retrain_seconds for shard in forecast.shards], digits=2)
    patch_s = durations([shard.patch_seconds for shard in forecast.shards], digits=2)
    for shard, retrain, patch, range_s in zip(forecast.shards, retrain_s, patch_s, likely, strict=True):
        shards.add_row(
            str(shard.shard),
            f"{shard.samples:,}",
            str(shard.earliest_slice),
            words(shard.remedy),
            retrain,
            patch,
            range_s,
            shard.reason,
        )
    screen.print(shards)
    screen.print(
        "slice: the earliest affected slice. retrain, patch: forecast compute of either remedy. "
        "likely: compute of the chosen remedy in nine cases of ten; uncertain where that is a range of more than ten times."
    )
    headings = ("strategy", "passes", "compute", f"makespan, {plural(forecast.workers, 'worker')}")
    strategies = make_table(*headings, numbers=headings[1:], title="\nthe request with each strategy")
    costs = forecast.strategies.values()
    compute_s = durations([cost.seconds for cost in costs], digits=2)
    makespan_s = durations([cost.makespan_seconds for cost in costs], digits=2)
    for (strategy, cost), compute, makespan in zip(forecast.strategies.items(), compute_s, makespan_s, strict=True):
        strategies.add_row(strategy, f"{cost.passes:,.0f}", compute, makespan)
    screen.print(strategies)


def _remedy(part: ShardReceipt) -> str:
    """Return the remedy of a shard in words. A patch alone is never exact, so a later retraining is named too."""
    return f"{words(part.remedy)}, settled by retraining" if part.settled_by else words(part.remedy)


def _residual(residual: PredictionChange | None) -> str:
    return "" if residual is None or residual.unseen is None else f"{residual.unseen:.4f}"


def _timeline(receipt: Receipt) -> str:
    """Return how long after its arrival a request reached each step."""
    steps = {
        "rewound": receipt.rewound_at,
        "repaired": receipt.repaired_at,
        "published": receipt.published_at,
        "purged": receipt.purged_at,
        "settled": receipt.settled_at if receipt.settled_at != receipt.published_at else None,
    }
    times = [f"{step} after {duration(_seconds(receipt.received_at, at))}" for step, at in steps.items() if at]
    result = receipt.exactness or "not repaired yet"
    return f"{plural(receipt.samples, 'sample')}, {result}: {', '.join(times)}"


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()
