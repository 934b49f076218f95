"""What an audit with two snapshots measures, and its result: how well deleted samples are found from predictions."""

from dataclasses import dataclass
from typing import Literal, get_args

from raymu.config.unlearning import OnAccept, Strategy
from raymu.core.audit.two_snapshots import SnapshotFigures
from raymu.core.records import Remedy
from raymu.shown_record import ShownRecord
from raymu.text import words

SnapshotRowName = Literal["untouched", "accepted", "retrained", "patched"]
NOTE = (
    "AUC: how often a deleted sample scores above a kept one; 0.5 is a guess, with its 95% interval. Named: how often one "
    "guess among {candidates} samples is that of a given request. Untouched is the control: nothing is deleted. Accepted is "
    "what is served while a request waits, which no group hides. It is a measurement: nothing passes or fails"
)
"""How to read the figures. It is shown wherever they are, with the number of samples that the attacker chooses from."""
SNAPSHOT_ROWS: tuple[SnapshotRowName, ...] = get_args(SnapshotRowName)


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotScope:
    """What an audit with two snapshots measures."""

    changes: int = 40
    """Visible changes of each kind: an even number, at least 8. Intervals narrow with its square root."""
    at_least: int | None = None
    """Deletions of a group; None for those of `unlearning.publish`, or 16 without it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotAttack:
    """What the attack finds in one kind of answers."""

    figures: SnapshotFigures
    features: tuple[str, str]
    """The features of pairs that were chosen, by the attacker who knows either half of the samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotRow:
    """One kind of visible change."""

    name: SnapshotRowName
    """What happens between the snapshots. untouched: nothing, which is the control. accepted: the affected shards are
    rewound, or abstain, as from the acceptance of a request until its repair. retrained, patched: they are repaired."""
    group: int
    """Deleted samples that become visible together."""
    answers: SnapshotAttack
    """From answers with probabilities."""
    labels_only: SnapshotAttack
    """From the named class alone."""
    changed_classes: float
    """Share of the answers to questions about kept samples whose class changes."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SnapshotReport(ShownRecord):
    """The result of an audit with two snapshots. It is a measurement, which nothing passes or fails."""

    generation: int
    """Number of the generation that is the first snapshot."""
    changes: int
    """Visible changes of each kind that were measured."""
    at_least: int
    """Deletions of a group."""
    candidates: int
    """Samples that the attacker chooses from, the deleted ones included."""
    strategy: Strategy
    remedies: tuple[Remedy, ...]
    """The remedies of the patched shards, in alphabetical order; empty with the strategy sisa."""
    not_patched: int
    """Shards that were retrained where the others are patched: no patch is possible, or cheaper, or it failed."""
    on_accept: OnAccept
    rows: tuple[SnapshotRow, ...]
    seconds: float
    """Compute seconds of all repairs."""

    def row(self, name: SnapshotRowName, group: int) -> SnapshotRow:
        """Return a row by its name and the deletions of a change. Raises KeyError."""
        for row in self.rows:
            if (row.name, row.group) == (name, group):
                return row
        raise KeyError(f"{name} of {group}")

    @property
    def _facts(self) -> dict[str, object]:
        facts: dict[str, object] = {"generation": self.generation, "changes": self.changes}
        for row in self.rows:
            auc = row.answers.figures.auc
            facts[f"AUC {words(row.name)}, {row.group} at once"] = f"{auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
        return facts
