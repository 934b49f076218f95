"""An audit with two snapshots on the page: a row for each kind of change."""

from dataclasses import dataclass
from typing import Any

from raymu.report.audit_summary import Interval
from raymu.service.audit.snapshot_report import NOTE, SNAPSHOT_ROWS

_MOST_ROWS = 20
"""More rows than any audit has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotLine:
    """One kind of visible change."""

    name: str
    group: int
    """Deleted samples that become visible together."""
    auc: Interval
    labels_only: Interval
    """The AUC from the named class alone."""
    named: float
    """How often one guess is the sample of a given request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotSummary:
    """The summary of an audit with two snapshots."""

    source: str
    """What it is an audit of, and what vouches for it."""
    changes: int
    """Changes of each kind."""
    rows: tuple[SnapshotLine, ...]
    note: str
    """How to read the figures."""


def snapshot_summary(tree: Any, source: str) -> SnapshotSummary | None:
    """Read the JSON of an audit with two snapshots. None if the document does not have what the page shows."""
    try:
        if len(tree["rows"]) > _MOST_ROWS:
            return None
        return SnapshotSummary(
            source=source,
            changes=int(tree["changes"]),
            rows=tuple(_line(row) for row in tree["rows"]),
            note=NOTE.format(candidates=f"{int(tree['candidates']):,}"),
        )
    except (KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError):
        return None


def _line(row: Any) -> SnapshotLine:
    """Read a row. Raise KeyError, TypeError or ValueError if it is none."""
    figures = row["answers"]["figures"]
    return SnapshotLine(
        name=SNAPSHOT_ROWS[SNAPSHOT_ROWS.index(row["name"])],
        group=int(row["group"]),
        auc=_interval(figures["auc"]),
        labels_only=_interval(row["labels_only"]["figures"]["auc"]),
        named=float(figures["named"]["value"]),
    )


def _interval(estimate: Any) -> Interval:
    return Interval(value=float(estimate["value"]), low=float(estimate["low"]), high=float(estimate["high"]))
