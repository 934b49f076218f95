"""The result of an audit with two snapshots, with figures that nobody measured."""

from raymu.config.unlearning import OnAccept, Strategy
from raymu.core.audit.roc import Estimate
from raymu.core.audit.two_snapshots import SnapshotFigures
from raymu.core.records import Remedy
from raymu.service.audit.snapshot_report import SnapshotAttack, SnapshotReport, SnapshotRow, SnapshotRowName

_ROWS: tuple[tuple[SnapshotRowName, int, float], ...] = (
    ("untouched", 1, 0.5),
    ("accepted", 1, 0.62),
    ("retrained", 1, 0.78),
    ("patched", 1, 0.8),
    ("untouched", 16, 0.49),
    ("retrained", 16, 0.67),
    ("patched", 16, 0.7),
)


def snapshot_report(*, generation: int = 3) -> SnapshotReport:
    """Return a report with every kind of row."""
    return SnapshotReport(
        generation=generation,
        changes=40,
        at_least=16,
        candidates=500,
        strategy=Strategy.HS,
        remedies=(Remedy.PATCH,),
        not_patched=2,
        on_accept=OnAccept.REWIND,
        rows=tuple(
            SnapshotRow(
                name=name,
                group=group,
                answers=_attack(auc, group),
                labels_only=_attack(0.51, group),
                changed_classes=0.01,
            )
            for name, group, auc in _ROWS
        ),
        seconds=12.5,
    )


def _attack(auc: float, group: int) -> SnapshotAttack:
    named = Estimate(value=0.2 / group, low=0.1 / group, high=0.3 / group)
    return SnapshotAttack(
        figures=SnapshotFigures(
            auc=Estimate(value=auc, low=auc - 0.06, high=auc + 0.06),
            tpr_at_1_percent=named,
            tpr_at_0_1_percent=None,
            named=named,
        ),
        features=("true_class", "difference"),
    )
