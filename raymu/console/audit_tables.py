"""Audits on the terminal."""

from collections.abc import Sequence

from rich.text import Text

from raymu.console.screen import Screen, make_table, verdict_text
from raymu.console.table import ResultTable
from raymu.core.audit.attacks import TWO_GENERATIONS_NOTE
from raymu.core.audit.roc import Estimate
from raymu.core.verdict import Verdict
from raymu.service.audit.report import AuditReport, PerModel, RemedyAudit, RemedyRow, RequestAudit
from raymu.text import durations, plural, words

_FEW_REQUESTS = 4
"""Requests that are listed unless all of them are asked for."""
_VERDICTS = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
"""In the order in which requests are listed: what needs attention comes first."""
_LOSSES = ("served", "oracle", "control")


def show_audit(screen: Screen, report: AuditReport, *, is_whole: bool = False) -> None:
    """Print the verdict, why, and what it rests on.

    Args:
        screen: Where to print.
        report: The audit.
        is_whole: Whether every request, and the figures on other samples, are shown too.
    """
    screen.print(Text.assemble("verdict: ", verdict_text(report.verdict)))
    parts = [("all together", report.together)]
    requests = sorted(report.requests, key=lambda part: _VERDICTS.index(part.verdict))
    shown = requests if is_whole else requests[:_FEW_REQUESTS]
    if len(report.requests) > 1:
        parts += [(part.request_ids[0], part) for part in shown]
    _show_reasons(screen, [report.together, *(requests if len(requests) > 1 else ())])
    screen.print(_losses(parts))
    if len(shown) < len(requests):
        screen.print(f"and {plural(len(requests) - len(shown), 'more request')}; --all shows them")
    screen.print(_attacks(report.together))
    screen.print(f"two generations: {TWO_GENERATIONS_NOTE}")
    if report.together.remedy is not None:
        _show_remedy(screen, report.together.remedy, is_whole=is_whole)
    accuracy = report.accuracy.forget
    screen.print(
        f"accuracy on the forget set: served {accuracy.served:.2%}, oracle {accuracy.oracle:.2%}, "
        f"control {accuracy.control:.2%}"
    )


def _show_reasons(screen: Screen, parts: Sequence[RequestAudit]) -> None:
    """Print each reason once, with what it is the reason for."""
    together, *requests = parts
    counts: dict[tuple[Verdict, str], int] = {(together.verdict, together.reason): 0}
    for request in requests:
        key = (request.verdict, request.reason)
        counts[key] = counts.get(key, 0) + 1
    for (verdict, reason), count in counts.items():
        is_together = (verdict, reason) == (together.verdict, together.reason)
        names = (["all together"] if is_together else []) + ([plural(count, "request")] if count else [])
        screen.print(Text.assemble(f"{' and '.join(names)}: ", verdict_text(verdict), f", {reason}"))


def _losses(parts: Sequence[tuple[str, RequestAudit]]) -> ResultTable:
    """Make the table of the losses, with a row for each request and one for all."""
    table = make_table(
        *("request", "samples", *_LOSSES, "verdict"),
        numbers=("samples", *_LOSSES),
        unbroken=("verdict",),
        shortened=("request",),
        title="\nloss on the forget set, in nats",
    )
    for name, part in parts:
        table.add_row(
            name,
            f"{part.samples:,}",
            f"{part.loss.served:.3f}",
            f"{part.loss.oracle:.3f}",
            f"{part.loss.control:.3f}",
            verdict_text(part.verdict),
        )
    return table


def _attacks(together: RequestAudit) -> ResultTable:
    """Make the table of how well each attack worked."""
    table = make_table("attack", *_LOSSES, unbroken=_LOSSES, title="AUC of each attack, with its 95% interval")
    for attack in together.attacks:
        table.add_row(words(attack.attack), *(_interval(estimate) for estimate in _by_model(attack.auc)))
    return table


def _show_remedy(screen: Screen, audit: RemedyAudit, *, is_whole: bool) -> None:
    """Print how far the repeated remedy ended from retraining: on the forget set, and then on other samples, and its cost."""
    remedies = " and ".join(words(remedy) for remedy in audit.remedies)
    distances = ("KLoM", "95% of it", "x floor", "|dp|")
    table = make_table(
        "model",
        *distances,
        "U-LiRA",
        numbers=distances,
        unbroken=("model", "U-LiRA"),
        title=f"\n{remedies}, repeated {plural(audit.repetitions, 'time')}: distance from retraining",
    )
    for row in audit.rows:
        klom = row.forgetting.forget.gaussian_klom
        table.add_row(
            _row_name(row),
            f"{klom.mean:.2f}",
            f"{klom.p95:.2f}",
            "-" if row.over_floor is None else f"{row.over_floor.gaussian_klom:.1f}",
            f"{row.forgetting.forget.paired:.3f}",
            _interval(row.forgetting.lira),
        )
    screen.print(table)
    if is_whole:
        screen.print(_other_samples(audit))
    if audit.failed_patches:
        screen.print(f"patches that failed and were replaced by retraining: {audit.failed_patches:,}")


def _other_samples(audit: RemedyAudit) -> ResultTable:
    """Make the table of the distance on other samples, of relearning, and of the cost."""
    sides = ("retained", "unseen", "relearned in", "accuracy", "passes", "compute")
    table = make_table(
        "model",
        *sides,
        numbers=sides,
        unbroken=("model",),
        title="KLoM on other samples, steps of relearning, and cost",
    )
    compute_s = durations([row.forgetting.cost.seconds for row in audit.rows])
    for row, compute in zip(audit.rows, compute_s, strict=True):
        figures = row.forgetting
        table.add_row(
            _row_name(row),
            f"{figures.retained.gaussian_klom.mean:.2f}",
            f"{figures.test.gaussian_klom.mean:.2f}",
            "-" if figures.relearning_steps is None else f"{figures.relearning_steps:.0f}",
            f"{figures.accuracy:.1%}",
            f"{figures.cost.passes:,.0f}",
            compute,
        )
    return table


def _row_name(row: RemedyRow) -> str:
    return {"other_seed": "other seed (floor)"}.get(row.name, row.name)


def _by_model(estimates: PerModel[Estimate]) -> tuple[Estimate, Estimate, Estimate]:
    return estimates.served, estimates.oracle, estimates.control


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
