"""What is kept of requests that are done: counts and sums, which do not grow with their number."""

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from raymu.core.prediction_change import PredictionChange

KINDS_OF_SAMPLES = tuple(each.name for each in fields(PredictionChange))


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeTally:
    """Sums over the changes that repairs of one kind have measured."""

    repairs: int = 0
    """Number of repairs that measured a change."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Kind of samples -> repairs that measured it."""
    totals: Mapping[str, float] = field(default_factory=dict)
    """Kind of samples -> sum of the changes."""

    def after(self, change: PredictionChange | None) -> "ChangeTally":
        """Return the sums with one more repair. One that measured nothing is left out."""
        if change is None:
            return self
        values = {kind: getattr(change, kind) for kind in KINDS_OF_SAMPLES}
        known = {kind: value for kind, value in values.items() if value is not None}
        return ChangeTally(
            repairs=self.repairs + 1,
            counts={**self.counts, **{kind: self.counts.get(kind, 0) + 1 for kind in known}},
            totals={**self.totals, **{kind: self.totals.get(kind, 0.0) + value for kind, value in known.items()}},
        )

    def mean(self) -> PredictionChange:
        """Return the mean for each kind of samples; None if no repair measured it."""
        return PredictionChange(**{kind: self.totals[kind] / count for kind, count in self.counts.items()})


@dataclass(frozen=True, kw_only=True, slots=True)
class ResidualTally:
    """Sums over all repairs for requests, by which `Residuals` are computed."""

    patches: int = 0
    """Patches of shards."""
    settled: int = 0
    """Those that a later retraining has replaced."""
    residual: ChangeTally = ChangeTally()
    """Changes by retrainings that replaced a patch."""
    patched: ChangeTally = ChangeTally()
    """Changes by patches."""
    untouched: ChangeTally = ChangeTally()
    """Changes by retrainings of shards without debt."""

    def after_patch(self, change: PredictionChange | None) -> "ResidualTally":
        """Return the sums after a patch."""
        return replace(self, patches=self.patches + 1, patched=self.patched.after(change))

    def after_settlement(self, patches: int, change: PredictionChange | None) -> "ResidualTally":
        """Return the sums after a retraining that replaced some patches. The forgotten samples were destroyed before."""
        residual = replace(change, forgotten=None) if change else None
        return replace(self, settled=self.settled + patches, residual=self.residual.after(residual))

    def after_retraining(self, change: PredictionChange | None) -> "ResidualTally":
        """Return the sums after the retraining of a shard that had forgotten nothing by a patch."""
        return replace(self, untouched=self.untouched.after(change))


@dataclass(frozen=True, kw_only=True, slots=True)
class DoneTally:
    """The requests that are settled, purged and have their last receipt."""

    requests: int = 0
    exact_late: int = 0
    """Those that became exact after they were due."""
    overdue: int = 0
    """Those that are inconclusive and were due before the last event of this kind."""
    inconclusive_due: tuple[datetime, ...] = ()
    """When the other inconclusive ones are due, in order."""

    def overdue_at(self, now: datetime) -> int:
        """Return how many inconclusive ones were due before a time."""
        return self.overdue + bisect_left(self.inconclusive_due, now)

    def changed(
        self, added: Sequence[tuple[bool, bool, datetime]] = (), removed: Sequence[tuple[bool, bool, datetime]] = ()
    ) -> "DoneTally":
        """Return the tally with some requests more or less.

        Args:
            added: For each request, whether it is conclusive, whether it became exact too late, and when it is due.
            removed: The same of requests that are open again.
        """
        due = [*self.inconclusive_due]
        late, overdue = self.exact_late, self.overdue
        for is_conclusive, is_late, due_at in added:
            late += is_conclusive and is_late
            if not is_conclusive:
                insort(due, due_at)
        for is_conclusive, is_late, due_at in removed:
            late -= is_conclusive and is_late
            if not is_conclusive:
                place = bisect_left(due, due_at)
                if place < len(due) and due[place] == due_at:
                    del due[place]
                else:
                    overdue -= 1
        return DoneTally(
            requests=self.requests + len(added) - len(removed),
            exact_late=late,
            overdue=overdue,
            inconclusive_due=tuple(due),
        )

    def at(self, now: datetime) -> "DoneTally":
        """Return the tally without the dates that are past, which are counted instead."""
        past = bisect_left(self.inconclusive_due, now)
        return (
            replace(self, overdue=self.overdue + past, inconclusive_due=self.inconclusive_due[past:]) if past else self
        )
