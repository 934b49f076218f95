"""The reports of a shard's work that lie in the run: of a finished command, and of the stages of one that is not done."""

from dataclasses import dataclass, replace

from raymu.core.commands import TRAIN_PREFIX, RepairReport
from raymu.core.records import CheckpointRef, Cost, FileRef
from raymu.errors import FileCorrupt, FileUnreadable
from raymu.service.shard.messages import TrainReport, WorkReport
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class StageResults:
    """The files and costs of consecutive stages."""

    checkpoints: tuple[CheckpointRef, ...] = ()
    updates: tuple[FileRef | None, ...] = ()
    """Recorded updates of each stage."""
    passes: float = 0.0
    """Sample passes."""
    seconds: float = 0.0
    """Compute time."""
    costs: tuple[Cost, ...] = ()
    """Passes and seconds of each stage."""
    determinism: str = ""
    """Determinism class of the last stage, as JSON."""
    earlier_classes: tuple[str, ...] = ()
    """Other determinism classes of earlier stages, as JSON."""

    @property
    def files(self) -> frozenset[FileRef]:
        return frozenset({*(checkpoint.file for checkpoint in self.checkpoints), *filter(None, self.updates)})

    def plus(self, later: "StageResults") -> "StageResults":
        """Append the stages that were trained next."""
        return replace(
            later,
            checkpoints=self.checkpoints + later.checkpoints,
            updates=self.updates + later.updates,
            passes=self.passes + later.passes,
            seconds=self.seconds + later.seconds,
            costs=self.costs + later.costs,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PartialReport:
    """The trained stages of a command that is not done."""

    command_id: str
    determinism: str
    """Determinism class of the worker, as JSON."""
    trained: StageResults


def find_report(store: RunStore, command_id: str) -> WorkReport | None:
    """Return the report of a command; None if it does not exist or was changed, or if its files are missing."""
    return store.reports.find(report_kind(command_id), command_id)


def report_kind(command_id: str) -> type[WorkReport]:
    """Return the kind of report that a command has."""
    return TrainReport if command_id.startswith(TRAIN_PREFIX) else RepairReport


def find_partial(store: RunStore, command_id: str) -> PartialReport | None:
    """Find a partial report. None also if its file is damaged or cannot be read: it only spares work."""
    try:
        return store.reports.find_partial(PartialReport, command_id)
    except (FileCorrupt, FileUnreadable):
        return None
