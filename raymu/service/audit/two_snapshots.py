"""The audit with two snapshots: whether deleted samples are found from a run's answers before and after their deletion.

Samples of the run itself are deleted in memory, with and without grouping, and nothing is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from raymu.config import TargetName
from raymu.config.unlearning import OnAccept, Strategy
from raymu.core.arrays import Mask
from raymu.core.audit.two_snapshots import AnswerPairs
from raymu.core.board.serving import served_constituent
from raymu.core.partition import Hashes, Indices, derive_seed
from raymu.core.records import Generation, Remedy, ShardState
from raymu.data.rows import Rows, joined_rows
from raymu.data.stored_rows import read_rows
from raymu.errors import RequestInvalid
from raymu.service.audit.snapshot_answers import Answers, ServedVotes, after_repair, answers_of, pairs_of
from raymu.service.audit.snapshot_attack import ObservedChange, attack_changes
from raymu.service.audit.snapshot_changes import (
    Deletion,
    Questions,
    chosen_for_questions,
    draw_deletions,
    most_deleted,
)
from raymu.service.audit.snapshot_report import SnapshotReport, SnapshotRow, SnapshotRowName, SnapshotScope
from raymu.service.audit.snapshot_shards import observed_shard, patch_of
from raymu.service.audit.snapshot_votes import ObservedShard, ShardVotes, VotesTask, earliest_slice
from raymu.service.audit.tasks import RunVotes, one_after_another
from raymu.service.phase import Count, PhaseListener, no_count, no_phase
from raymu.service.served import awaited_shards, served_generation
from raymu.service.shard.files import read_shard_samples
from raymu.store.run import RunStore

USUAL_GROUP = 16
"""Deletions of a group where the run's settings name no number."""
MIN_CHANGES = 8
_TOO_FEW = "this run has too few samples left to delete some and to hide them among others"

_PHASES: Mapping[SnapshotRowName, str] = {"retrained": "retraining", "patched": "patching"}


def audit_two_snapshots(
    store: RunStore,
    scope: SnapshotScope,
    *,
    run_tasks: RunVotes = one_after_another,
    progress: Count = no_count,
    phase: PhaseListener = no_phase,
) -> SnapshotReport:
    """Measure how well deleted samples are found by whoever saw the answers before and after. Nothing is written.

    Args:
        store: The run.
        scope: What is measured.
        run_tasks: Carries out the repairs.
        progress: Called with the number of repaired shards, from 0 on, and their total number.
        phase: Called before each part of the work.

    Raises:
        RaymuError: RequestInvalid if the scope does not fit, or the run is not settled. FileMissing, FileCorrupt or
            RunInvalid if it is damaged. DeviceUnavailable if a model cannot be trained as the run was.
    """
    at_least = _checked(store, scope)
    phase("reading the samples")
    generation = _settled_generation(store)
    seed = derive_seed(store.config.partition.seed, "two snapshots")
    questions, features = _questions(store, generation, seed=seed)
    most = most_deleted(questions)
    if not most:
        raise RequestInvalid(_TOO_FEW)
    if at_least > most:
        raise RequestInvalid(
            f"a group of {at_least} deletions needs more samples than this run has; --at-least {most} is the most"
        )
    deletions = draw_deletions(questions, groups=sorted({1, at_least}), changes=scope.changes, seed=seed)
    run = _Measured(store=store, generation=generation, questions=questions, deletions=deletions)
    run.measure(features, run_tasks, progress, phase)
    phase("attacking")
    config = store.config.unlearning
    return SnapshotReport(
        generation=generation.number,
        changes=scope.changes,
        at_least=at_least,
        candidates=min(len(questions.of_half(half)) for half in (0, 1)),
        strategy=config.strategy,
        remedies=tuple(sorted(run.remedies)),
        not_patched=run.not_patched,
        on_accept=config.on_accept,
        rows=tuple(run.rows(seed)),
        seconds=run.seconds,
    )


def _checked(store: RunStore, scope: SnapshotScope) -> int:
    """Return the deletions of a group. Raises RequestInvalid if the scope does not fit."""
    if scope.changes < MIN_CHANGES or scope.changes % 2:
        raise RequestInvalid(
            f"{scope.changes} changes: give an even number, {MIN_CHANGES} or more, because half of them are of the samples "
            "that an attacker knows"
        )
    target = store.config.task.target
    if target is not TargetName.CLASSES:
        raise RequestInvalid(f"two snapshots are compared by the probabilities of classes, which {target} has not")
    publish = store.config.unlearning.publish
    at_least = scope.at_least if scope.at_least is not None else (publish.at_least if publish else USUAL_GROUP)
    if at_least < 1:
        raise RequestInvalid(f"a group of {at_least} deletions: give 1 or more")
    return at_least


def _settled_generation(store: RunStore) -> Generation:
    """Return the served generation, for which no shard waits. Raises RequestInvalid if one does."""
    generation = served_generation(store)
    waiting = {*awaited_shards(store)}
    for served, lineage in zip(generation.constituents, generation.lineages, strict=True):
        is_behind = served.state in (ShardState.REWOUND, ShardState.ABSTAINING) and lineage.samples
        if is_behind or served.shard in waiting or lineage.untrained_from is not None:
            raise RequestInvalid(
                f"shard {served.shard} waits for a repair, for its group, or for the training of added samples; run "
                "`raymu settle --publish` first"
            )
    return generation


def _questions(store: RunStore, generation: Generation, *, seed: int) -> tuple[Questions, Rows]:
    """Choose the samples to ask about, and return their features too. Raises RequestInvalid if none is left."""
    shards = [read_shard_samples(store, lineage.table) for lineage in generation.lineages if lineage.samples]
    numbers = [lineage.shard for lineage in generation.lineages if lineage.samples]
    if not numbers:
        raise RequestInvalid(_TOO_FEW)
    chosen, halves = chosen_for_questions(
        [samples.hashes for samples in shards], classes=store.manifest.classes, seed=seed
    )
    chosen_samples = [samples.where(is_chosen) for samples, is_chosen in zip(shards, chosen, strict=True)]
    questions = Questions(
        shards=np.repeat(numbers, [len(samples) for samples in chosen_samples]),
        slices=np.concatenate([samples.slices for samples in chosen_samples]),
        hashes=np.concatenate([samples.hashes for samples in chosen_samples]),
        truth=np.concatenate([samples.labels for samples in chosen_samples]),
        halves=np.concatenate([half[is_chosen] for half, is_chosen in zip(halves, chosen, strict=True)]),
    )
    return questions, joined_rows([read_rows(samples.features) for samples in chosen_samples])


@dataclass(kw_only=True, slots=True)
class _Measured:
    """The votes of all shards before and after each deletion, as they come in."""

    store: RunStore
    generation: Generation
    questions: Questions
    deletions: Sequence[Deletion]
    before: dict[int, ServedVotes] = field(default_factory=dict)
    """Shard -> what it serves."""
    after: dict[tuple[SnapshotRowName, int], dict[int, ServedVotes]] = field(default_factory=dict)
    """Row and number of the deletion -> shard -> what it serves then; only the touched shards."""
    remedies: set[Remedy] = field(default_factory=set)
    not_patched: int = 0
    seconds: float = 0.0

    def measure(self, features: Rows, run_tasks: RunVotes, progress: Count, phase: PhaseListener) -> None:
        """Carry out all deletions, shard after shard, so that only the files of one are in memory."""
        touched = self._touched()
        is_patched = self.store.config.unlearning.strategy is not Strategy.SISA
        total = sum(len(deletions) for deletions in touched.values()) * (2 if is_patched else 1)
        done = 0
        progress(done, total)
        for number in range(len(self.generation.lineages)):
            if not self.generation.lineages[number].samples:
                self.before[number] = ServedVotes(constituent=self.generation.constituents[number], votes=None)
                continue
            phase(f"shard {number}: reading")
            shard = observed_shard(self.store, self.generation, number, features)
            self._serve(shard, touched[number])
            for name, remedies in self._kinds(shard, touched[number]).items():
                phase(f"shard {number}: {_PHASES[name]}")
                tasks = [
                    VotesTask(shard=shard, forget=self._forgotten(deletion, number), remedy=remedy)
                    for deletion, remedy in zip(touched[number], remedies, strict=True)
                ]
                for deletion, task, repaired in zip(touched[number], tasks, run_tasks(tasks), strict=True):
                    self._take(name, deletion, task, repaired)
                    done += 1
                    progress(done, total)

    def rows(self, seed: int) -> Iterator[SnapshotRow]:
        """Attack every kind of change."""
        names: list[SnapshotRowName] = ["untouched", "accepted", "retrained", "patched"]
        before = self._answers({})
        for group in sorted({deletion.group for deletion in self.deletions}):
            for name in names:
                # Every request is accepted by itself, whatever its group.
                is_shown = name == "untouched" or (
                    (name != "accepted" or group == 1) and any(kind == name for kind, _ in self.after)
                )
                if is_shown:
                    yield self._row(name, group, before, seed)

    def _row(self, name: SnapshotRowName, group: int, before: Answers, seed: int) -> SnapshotRow:
        changes = [
            self._observed(deletion, before, self._answers(self.after.get((name, deletion.number), {})))
            for deletion in self.deletions
            if deletion.group == group
        ]
        labels = [replace(change, pairs=change.pairs.labels_only()) for change in changes]
        is_changed = np.concatenate([_class_changes(change.pairs)[~change.is_deleted] for change in changes])
        seed = derive_seed(seed, name, group)
        return SnapshotRow(
            name=name,
            group=group,
            answers=attack_changes(changes, seed=seed),
            labels_only=attack_changes(labels, seed=seed),
            changed_classes=float(is_changed.mean()),
        )

    def _observed(self, deletion: Deletion, before: Answers, after: Answers) -> ObservedChange:
        places = self.questions.of_half(deletion.half)
        return ObservedChange(
            pairs=pairs_of(before, after, self.questions.truth, places),
            is_deleted=np.isin(places, deletion.places),
            half=deletion.half,
        )

    def _answers(self, changed: Mapping[int, ServedVotes]) -> Answers:
        """Return the answers of the run in which some shards serve something else."""
        return answers_of(
            self.generation,
            {**self.before, **changed},
            aggregation=self.store.config.unlearning.aggregation,
            shape=(len(self.questions.hashes), self.store.manifest.classes),
        )

    def _touched(self) -> dict[int, list[Deletion]]:
        """Return the deletions that each shard has a part of."""
        return {
            lineage.shard: [
                deletion
                for deletion in self.deletions
                if (self.questions.shards[deletion.places] == lineage.shard).any()
            ]
            for lineage in self.generation.lineages
        }

    def _places(self, deletion: Deletion, shard: int) -> Indices:
        return deletion.places[self.questions.shards[deletion.places] == shard]

    def _forgotten(self, deletion: Deletion, shard: int) -> Hashes:
        return self.questions.hashes[self._places(deletion, shard)]

    def _slices(self, deletion: Deletion, shard: int) -> Indices:
        return self.questions.slices[self._places(deletion, shard)]

    def _serve(self, shard: ObservedShard, touched: Sequence[Deletion]) -> None:
        """Take what a shard serves now, and while requests wait for it."""
        number, on_accept = shard.lineage.shard, self.store.config.unlearning.on_accept
        constituent = self.generation.constituents[number]
        assert constituent.checkpoint is not None, "it does not wait"
        votes = {constituent.checkpoint.file: shard.votes(constituent.checkpoint.file)}
        self.before[number] = ServedVotes(constituent=constituent, votes=votes[constituent.checkpoint.file])
        if on_accept is OnAccept.KEEP:
            return
        for deletion in touched:
            earliest = earliest_slice(shard.lineage, self._slices(deletion, number))
            waiting = served_constituent(shard.lineage, pending_from=earliest, on_accept=on_accept)
            file = waiting.checkpoint.file if waiting.checkpoint else None
            if file is not None and file not in votes:
                votes[file] = shard.votes(file)
            served = ServedVotes(constituent=waiting, votes=None if file is None else votes[file])
            self.after.setdefault(("accepted", deletion.number), {})[number] = served

    def _kinds(self, shard: ObservedShard, touched: Sequence[Deletion]) -> Mapping[SnapshotRowName, Sequence[Remedy]]:
        """Return what is done to a shard for each of some deletions, in every kind of change."""
        kinds: dict[SnapshotRowName, Sequence[Remedy]] = {"retrained": [Remedy.RETRAIN] * len(touched)}
        if self.store.config.unlearning.strategy is not Strategy.SISA:
            kinds["patched"] = [
                patch_of(self.store, self.generation, shard, self._slices(deletion, shard.lineage.shard))
                for deletion in touched
            ]
        return kinds

    def _take(self, name: SnapshotRowName, deletion: Deletion, task: VotesTask, repaired: ShardVotes) -> None:
        number = task.shard.lineage.shard
        self.after.setdefault((name, deletion.number), {})[number] = after_repair(self.before[number], repaired)
        self.seconds += repaired.seconds
        if name == "patched":
            self.not_patched += not repaired.is_patched
            if repaired.is_patched:
                self.remedies.add(task.remedy)


def _class_changes(pairs: AnswerPairs) -> Mask:
    return np.asarray(pairs.before.argmax(axis=1) != pairs.after.argmax(axis=1))
