"""What a piece of work had trained when it broke off: whoever is given it again goes on after that."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from raymu.core.lineage import descent_of
from raymu.core.records import CheckpointRef, FileRef
from raymu.errors import FileCorrupt, FileUnreadable
from raymu.learn.samples import ShardSamples
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedStages:
    """What training some stages left behind. seconds: of compute; determinism: the class of the last one, as JSON"""

    checkpoints: tuple[CheckpointRef, ...] = ()
    updates: tuple[FileRef | None, ...] = ()
    passes: float = 0.0
    seconds: float = 0.0
    determinism: str = ""
    earlier_classes: tuple[str, ...] = ()

    @property
    def files(self) -> frozenset[FileRef]:
        return frozenset({*(one.file for one in self.checkpoints), *filter(None, self.updates)})

    def and_then(self, later: "TrainedStages") -> "TrainedStages":
        """With the stages that were trained next."""
        return replace(
            later,
            checkpoints=self.checkpoints + later.checkpoints,
            updates=self.updates + later.updates,
            passes=self.passes + later.passes,
            seconds=self.seconds + later.seconds,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class InterimReport:
    """The stages that are done of a command which is not. determinism: the class of the worker that was at it, as JSON"""

    command_id: str
    determinism: str
    trained: TrainedStages


def find_interim(store: RunStore, command_id: str) -> InterimReport | None:
    """None too where its file is not what was written, or cannot be read: it only spares work."""
    try:
        return store.reports.find_interim(InterimReport, command_id)
    except (FileCorrupt, FileUnreadable):
        return None


def trained_before(
    store: RunStore,
    command_id: str,
    samples: ShardSamples,
    stages: range,
    *,
    determinism: str,
    kept: Collection[FileRef],
) -> TrainedStages:
    """What is done already of a command; nothing where not all of it can be gone on from, and then it is destroyed.

    samples: that the command is to train on; stages: that it is to train; determinism: the class of this worker, as JSON,
    since a mixture would be exact in none; kept: files that stay, whatever an interim report names
    """
    interim = find_interim(store, command_id)
    if interim is None:
        return TrainedStages()
    if interim.determinism == determinism and _is_sound(store, interim.trained, samples, stages):
        return interim.trained
    store.destroy(interim.trained.files.difference(kept))
    return TrainedStages()


def _is_sound(store: RunStore, trained: TrainedStages, samples: ShardSamples, stages: range) -> bool:
    """Whether these are the first of the stages, trained on these samples and no others, and all that they left is there."""
    numbers = [one.stage for one in trained.checkpoints]
    descents = [descent_of(samples.up_to(number).hashes, key=store.keys.hash_key) for number in numbers]
    if numbers != list(stages[: len(numbers)]) or descents != [one.descent for one in trained.checkpoints]:
        return False
    try:
        return not any(store.files.damage(sorted(trained.files, key=lambda file: file.path)))
    except FileUnreadable:
        return False
