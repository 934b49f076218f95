"""How well past patches forgot, as far as later retrainings revealed it."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from raymu.core.prediction_change import PredictionChange
from raymu.core.receipt import Receipt
from raymu.core.remedies import REMEDIES
from raymu.core.tallies import ChangeTally, ResidualTally


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanChange:
    """Means over repairs of one kind. Each repair counts once, for any number of requests and samples."""

    repairs: int
    """Number of repairs that measured a change."""
    change: PredictionChange
    """For each kind of samples the mean over the repairs that measured it; None if none did."""

    @classmethod
    def of(cls, changes: Iterable[PredictionChange | None]) -> "MeanChange":
        """Average the changes of some repairs. Repairs that measured none are left out."""
        measured = [change for change in changes if change is not None]
        return cls(
            repairs=len(measured),
            change=PredictionChange(
                forgotten=_mean(change.forgotten for change in measured),
                retained=_mean(change.retained for change in measured),
                unseen=_mean(change.unseen for change in measured),
            ),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Residuals:
    """How far patched states were from the retrained ones, beside the same for states that were not patched.

    On the forgotten samples themselves no residual can be known: they are destroyed before a shard is settled.
    """

    patches: int
    """Patches of shards, settled or not."""
    settled: int
    """Those that a later retraining has replaced."""
    residual: MeanChange
    """From the patched to the retrained state, over the retrainings that replaced a patch."""
    patched: MeanChange
    """From the state before to the patched one, over all patches."""
    untouched: MeanChange
    """From the state that had forgotten nothing to the retrained one, over the retrainings of shards without debt: how far
    a patch that does nothing would be from it."""

    @property
    def over_untouched(self) -> float | None:
        """How many times as far from the retrained states as untouched ones patched states were, on unseen samples."""
        patched, untouched = self.residual.change.unseen, self.untouched.change.unseen
        return patched / untouched if patched is not None and untouched else None


def residuals_of(receipts: Iterable[Receipt]) -> Residuals:
    """Summarize the repairs that some receipts name."""
    parts = [part for receipt in receipts for part in receipt.shards]
    repairs = {part.command_id: part for part in parts}
    patches = {command_id: part for command_id, part in repairs.items() if not REMEDIES[part.remedy].is_exact}
    # Several patches of a shard are replaced by one retraining, which is one observation.
    residuals = {part.settled_by: part.residual for part in patches.values() if part.settled_by}
    untouched = [
        part.change for command_id, part in repairs.items() if command_id not in patches and command_id not in residuals
    ]
    return Residuals(
        patches=len(patches),
        settled=sum(part.settled_by is not None for part in patches.values()),
        residual=MeanChange.of(residuals.values()),
        patched=MeanChange.of(part.change for part in patches.values()),
        untouched=MeanChange.of(untouched),
    )


def residuals_by(tally: ResidualTally) -> Residuals:
    """Return what the sums over all repairs say."""
    return Residuals(
        patches=tally.patches,
        settled=tally.settled,
        residual=_mean_change(tally.residual),
        patched=_mean_change(tally.patched),
        untouched=_mean_change(tally.untouched),
    )


def _mean_change(tally: ChangeTally) -> MeanChange:
    return MeanChange(repairs=tally.repairs, change=tally.mean())


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
