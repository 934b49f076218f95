"""What forecasts, searches and audits found, as tables."""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from raymu.console.tables import Screen, coloured
from raymu.core.audit.roc import Estimate
from raymu.service.audit.report import AuditReport, PerModel
from raymu.service.planning.capacity import CapacityPlan
from raymu.service.tuning.report import TuningReport
from raymu.text import plural


def show_capacity(screen: Screen, outlook: CapacityPlan) -> None:
    table = Table(
        "strategy", "passes", "compute s", "p95 repaired, s", "approximate", "owing shards",
        title=f"{outlook.traffic}: {outlook.requests} requests, {outlook.shards} shards x {outlook.slices} slices, "
        f"{outlook.workers} workers, boundary {outlook.boundary}",
    )  # fmt: skip
    for strategy, one in outlook.replayed.items():
        table.add_row(
            strategy,
            f"{one.passes:,.0f}",
            f"{one.compute_seconds:,.2f}",
            f"{one.p95_s:,.2f}",
            f"{one.approximate_share:.0%}",
            f"{one.debt_shards:.1f}",
        )
    screen.show(table)
    for layout, advice in (("these shards and slices", outlook.within_layout), ("any layout", outlook.any_layout)):
        found = advice.recommendation
        fits = "" if found.is_within else " (nothing fits the bounds; this is the nearest)"
        screen.say(
            f"recommended with {layout}: {found.shards} shards x {found.slices} slices, boundary {found.boundary:.2f}, "
            f"{found.work.passes:,.0f} passes{fits}"
        )
    if outlook.budget_s is None:
        screen.say("within the compute that sisa takes with these shards and slices; --budget sets another bound")


def show_tuning(screen: Screen, report: TuningReport, out: Path) -> None:
    table = Table(
        "", "strategy", "boundary", "slices", "window s", "passes", "x less", "points lost", "forgetting error",
        "debt", "p95 s", title=f"{report.traffic}: {plural(report.requests, 'request')}",
    )  # fmt: skip
    for one in report.trials:
        choice, score = one.choice, one.score
        is_chosen = one == report.chosen
        mark = "chosen" if is_chosen and not one.violations else "nearest" if is_chosen else "front"
        table.add_row(
            mark if is_chosen or one.is_on_front else "",
            choice.strategy,
            f"{choice.boundary:.3f}",
            str(choice.fine_tune_slices),
            f"{choice.window_s:g}",
            f"{score.passes:,.0f}",
            f"{report.retrain_passes / max(score.passes, 1.0):,.1f}",
            f"{score.lost_points:+.2f}",
            f"{score.forgetting_error:.3f}",
            f"{score.debt_share:.0%}",
            f"{score.p95_s:.2f}",
        )
    screen.show(table)
    control = report.control
    screen.say(
        f"retrained oracle: {report.oracle.accuracy:.2%} test accuracy; control that only fine-tunes: "
        f"{control.lost_points:+.2f} points lost, forgetting error {control.too_little + control.too_much:.3f}; "
        f"{plural(report.stopped, 'trial')} stopped early"
    )
    screen.say(f"trials: {out / 'trials.parquet'}; figure: {out / 'front.png'}")


def show_audit(screen: Screen, report: AuditReport) -> None:
    table = Table("requests", "samples", "verdict", "loss served", "oracle", "control", "why")
    for name, one in [("all together", report.together), *((one.request_ids[0], one) for one in report.requests)]:
        table.add_row(
            name,
            str(one.samples),
            coloured(one.verdict),
            f"{one.loss.served:.3f}",
            f"{one.loss.oracle:.3f}",
            f"{one.loss.control:.3f}",
            one.reason,
        )
    screen.show(table)
    attacks = Table("attack", "AUC served", "oracle", "control")
    for attack in report.together.attacks:
        attacks.add_row(
            attack.attack, *(f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in _beside(attack.auc))
        )
    screen.show(attacks)
    accuracy = report.accuracy.forget
    what = (
        f"accuracy on the forget set: served {accuracy.served:.2%}, oracle {accuracy.oracle:.2%}, "
        f"control {accuracy.control:.2%}; verdict: "
    )
    screen.say(Text.assemble(what, coloured(report.verdict)))


def _beside(estimates: PerModel[Estimate]) -> tuple[Estimate, Estimate, Estimate]:
    return estimates.served, estimates.oracle, estimates.control
