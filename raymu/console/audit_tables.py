"""Audits on the terminal."""

from rich.text import Text

from raymu.console.screen import Screen, make_table, verdict_text
from raymu.core.audit.roc import Estimate
from raymu.service.audit.report import AuditReport, PerModel, RemedyAudit, RemedyRow
from raymu.text import duration, plural, words


def show_audit(screen: Screen, report: AuditReport) -> None:
    """Print the verdict on all requests and on each of them, and how well each attack worked."""
    losses = ("served", "oracle", "control")
    table = make_table(
        *("request", "samples", *losses, "verdict"),
        numbers=("samples", *losses),
        unbroken=("request", "verdict"),
        title="loss on the forget set, in nats",
    )
    parts = [("all together", report.together), *((part.request_ids[0], part) for part in report.requests)]
    for name, part in parts:
        table.add_row(
            name,
            f"{part.samples:,}",
            f"{part.loss.served:.3f}",
            f"{part.loss.oracle:.3f}",
            f"{part.loss.control:.3f}",
            verdict_text(part.verdict),
        )
    screen.print(table)
    names_by_reason: dict[str, list[str]] = {}
    for name, part in parts:
        names_by_reason.setdefault(part.reason, []).append(name)
    for reason, names in names_by_reason.items():
        screen.print(f"{', '.join(names)}: {reason}")
    attacks = make_table("attack", *losses, title="\nAUC of each attack, with its 95% interval")
    for attack in report.together.attacks:
        attacks.add_row(attack.attack.replace("_", " "), *(_interval(estimate) for estimate in _by_model(attack.auc)))
    screen.print(attacks)
    if report.together.remedy is not None:
        _show_remedy(screen, report.together.remedy)
    accuracy = report.accuracy.forget
    text = (
        f"accuracy on the forget set: served {accuracy.served:.2%}, oracle {accuracy.oracle:.2%}, "
        f"control {accuracy.control:.2%}; verdict: "
    )
    screen.print(Text.assemble(text, verdict_text(report.verdict)))


def _show_remedy(screen: Screen, audit: RemedyAudit) -> None:
    """Print how far the repeated remedy ended from retraining: on the forget set, then on other samples, and its cost."""
    remedies = " and ".join(words(remedy) for remedy in audit.remedies)
    distances = ("KLoM", "95% of it", "x floor", "|dp|")
    table = make_table(
        "model",
        *distances,
        "U-LiRA",
        numbers=distances,
        unbroken=("model", "U-LiRA"),
        title=f"\n{remedies}, repeated {plural(audit.repetitions, 'time')}: distance from retraining on the forget set",
    )
    sides = ("retained", "unseen", "relearned in", "accuracy", "passes", "compute")
    others = make_table(
        "model",
        *sides,
        numbers=sides,
        unbroken=("model",),
        title="\nKLoM on other samples, steps of relearning, and cost",
    )
    for row in audit.rows:
        figures = row.forgetting
        klom, lira = figures.forget.gaussian_klom, figures.lira
        table.add_row(
            _row_name(row),
            f"{klom.mean:.2f}",
            f"{klom.p95:.2f}",
            "-" if row.over_floor is None else f"{row.over_floor.gaussian_klom:.1f}",
            f"{figures.forget.paired:.3f}",
            _interval(lira),
        )
        others.add_row(
            _row_name(row),
            f"{figures.retained.gaussian_klom.mean:.2f}",
            f"{figures.test.gaussian_klom.mean:.2f}",
            "-" if figures.relearning_steps is None else f"{figures.relearning_steps:.0f}",
            f"{figures.accuracy:.1%}",
            f"{figures.cost.passes:,.0f}",
            duration(figures.cost.seconds),
        )
    screen.print(table)
    screen.print(others)
    if audit.failed_patches:
        screen.print(f"patches that failed and were replaced by retraining: {audit.failed_patches:,}")


def _row_name(row: RemedyRow) -> str:
    return {"other_seed": "other seed (floor)"}.get(row.name, row.name)


def _by_model(estimates: PerModel[Estimate]) -> tuple[Estimate, Estimate, Estimate]:
    return estimates.served, estimates.oracle, estimates.control


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
