"""Audits on the terminal."""

from rich.text import Text

from raymu.console.screen import Screen, make_table, verdict_text
from raymu.core.audit.roc import Estimate
from raymu.service.audit.report import AuditReport, PerModel


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
    accuracy = report.accuracy.forget
    text = (
        f"accuracy on the forget set: served {accuracy.served:.2%}, oracle {accuracy.oracle:.2%}, "
        f"control {accuracy.control:.2%}; verdict: "
    )
    screen.print(Text.assemble(text, verdict_text(report.verdict)))


def _by_model(estimates: PerModel[Estimate]) -> tuple[Estimate, Estimate, Estimate]:
    return estimates.served, estimates.oracle, estimates.control


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
