"""The worker that trains and repairs one shard at a time."""

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import torch

from raymu.config import Device
from raymu.core.commands import RepairReport, TrainShard
from raymu.core.partition import Hashes, identity_hashes
from raymu.core.records import Remedy, SampleFiles, SampleId, ShardLineage
from raymu.core.remedies import training_passes
from raymu.core.repair_speed import training_speed, update_seconds_per_pass
from raymu.core.telemetry.log_fields import LogValue, logged_requests
from raymu.core.telemetry.metrics import TRAINING
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, PatchFailed, RaymuError, TrainingFailed
from raymu.service.event_log import log_event
from raymu.service.run_code import inexact_reasons
from raymu.service.run_spec import spec_of
from raymu.service.shard.change_meter import ChangeMeter, read_unseen
from raymu.service.shard.files import StateCache, read_shard_samples, write_without
from raymu.service.shard.messages import LaneWait, RepairTask, StageProgress, TrainReport, TrainTask, Work, WorkReport
from raymu.service.shard.shard_patcher import Patch, ShardPatcher
from raymu.service.shard.stages import StageWriter
from raymu.store.reports import AnyReport
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples
from raymu.training.determinism import (
    choose_device,
    describe_difference,
    determinism_class,
    deterministic,
    device_or_cpu,
    pinned,
)
from raymu.training.optimizers import build_optimizer
from raymu.training.stages import StageTrainer, train_stages

_log = logging.getLogger(__name__)


def log_work(
    run_id: str, work: Work, messages: Iterator[StageProgress | LaneWait | WorkReport]
) -> Iterator[StageProgress | LaneWait | WorkReport]:
    """Log a worker's progress and report, and pass them on."""
    fields: dict[str, LogValue] = {"run": run_id, "shard": work.shard, "remedy": TRAINING}
    if isinstance(work, RepairTask):
        fields["remedy"] = work.command.decision.remedy
        fields |= logged_requests(work.command.request_ids)
    log_event("work_begun", **fields)
    try:
        for message in messages:
            if isinstance(message, StageProgress):
                stage: dict[str, LogValue] = {
                    "stage": message.stage,
                    "passes": message.passes,
                    "seconds": message.seconds,
                }
                stage |= message.report.measured
                log_event("stage_trained", run=run_id, shard=message.shard, remedy=message.remedy or TRAINING, **stage)
            elif not isinstance(message, LaneWait):
                log_event("work_done", **(fields | {"passes": message.passes, "seconds": message.seconds}))
            yield message
    except Exception as error:
        log_event("work_failed", **fields, error=type(error).__name__)  # its text may name samples
        raise


class ShardWorker:
    """Trains and repairs shards, one at a time. Work whose report still exists is not done again."""

    def __init__(self, store: RunStore, train: StageTrainer = train_stages, *, device: Device | None = None) -> None:
        """Prepare for work.

        Args:
            store: The run.
            train: Trains stages, in this process or in rank workers.
            device: Device on which this process does all other work, such as patches. The default is the configured one.
        """
        self._store = store
        config = self._store.config
        self._trained_for = self._spec = spec_of(self._store)
        self._config = config
        self._files = StateCache(self._store)
        self._stages = StageWriter(self._store, self._files, train)
        self._device, self._device_setting = torch.device("cpu"), device or config.device
        # Refuses what cannot be built, and has PyTorch load what the first optimizer needs, before a request waits for it.
        build_optimizer(iter([torch.nn.Parameter(torch.zeros(1))]), config.training)
        self._determinism = ""
        self._inexact = inexact_reasons(store)
        for reason in self._inexact:
            _log.warning("raymu: what is trained now is inconclusive: %s", reason)

    @property
    def device_name(self) -> str:
        """The kind of device that this process computes on, as in its determinism class."""
        return determinism_class(device_or_cpu(self._device_setting), self._config.cluster.threads).device

    def run(self, work: Work) -> Generator[StageProgress | WorkReport]:
        """Do a piece of work.

        Yields:
            Progress, and the report last.

        Raises:
            DeviceUnavailable: This machine lacks the configured device.
            CoordinatorSuperseded: A later coordinator has taken the run over.
        """
        with closing(self.run_in_lane(work)) as messages:
            for message in messages:
                if not isinstance(message, LaneWait):
                    yield message

    def run_in_lane(self, work: Work) -> Generator[StageProgress | LaneWait | WorkReport]:
        """Do a piece of work as `run` does, and tell also when it waits for other shards of its lane."""
        self._stages.settle()
        self._store.fencing.fence_writes(work.term)
        self._files.switch_to(work.shard)
        self._store.garbage.delete_partial_writes(work.shard)  # left behind by a worker that was lost
        self._device = choose_device(self._device_setting)
        threads, workers = self._config.cluster.threads, self._spec.workers
        self._determinism = determinism_class(
            self._device, threads, workers, self._spec.training, lane=self._spec.lane
        ).json()
        yield from log_work(self._store.manifest.run_id, work, self._execute(work))

    def evict(self) -> None:
        """Drop all files of shards from memory."""
        self._files.evict_except(())

    def _execute(self, work: Work) -> Iterator[StageProgress | LaneWait | WorkReport]:
        match work:
            case TrainTask():
                self._spec = self._trained_for
                yield from self._once(TrainReport, work.command_id, self._train(work.command))
            case RepairTask():
                self._spec = self._trained_for.extended(work.command.lineage.added_epochs)
                yield from self._once(RepairReport, work.command_id, self._repair(work))

    def _once(
        self, kind: type[AnyReport], command_id: str, work: Generator[StageProgress | LaneWait, None, AnyReport]
    ) -> Iterator[StageProgress | LaneWait | AnyReport]:
        """Do the work, unless an earlier attempt left its report."""
        report = self._store.reports.find(kind, command_id)
        if report is None:
            report = yield from work
            self._store.reports.write(report)
        self._files.evict_except(report.lineage.files)
        yield report

    def _train(self, command: TrainShard) -> Generator[StageProgress | LaneWait, None, TrainReport]:
        samples = read_shard_samples(self._store, command.table)
        trained = yield from self._stages.train(samples, command, self._spec, determinism=self._determinism)
        speed = training_speed(trained.costs)
        lineage = ShardLineage(
            shard=command.shard,
            table=command.table,
            index=command.index,
            slice_samples=samples.slice_samples(self._slices),
            checkpoints=trained.checkpoints,
            updates=trained.updates,
            serving=trained.checkpoints[-1],
            tainted_from=None,
            debts=(),
            seconds_per_pass=speed.seconds_per_pass,
            seconds_per_stage=speed.seconds_per_stage,
            earlier_classes=trained.earlier_classes,
            inexact=self._inexact,
        )
        return TrainReport(
            lineage=lineage, passes=trained.passes, seconds=trained.seconds, determinism=trained.determinism
        )

    def _repair(self, task: RepairTask) -> Generator[StageProgress | LaneWait, None, RepairReport]:
        command = task.command
        samples, unseen = self._store.files.together(
            lambda: read_shard_samples(self._store, command.lineage.table), lambda: self._unseen(task)
        )
        is_forgotten = samples.isin(self._hashes(task.forget))
        forget, retain = samples.where(is_forgotten), samples.where(~is_forgotten)
        reason = command.decision.reason
        patch: Patch | None = None
        if command.decision.remedy is not Remedy.RETRAIN:
            try:
                patch = self._patch(task, forget, retain, unseen)
            except PatchFailed as failure:
                reason = f"{command.decision.remedy} failed ({failure}); retrained instead"
            except TrainingFailed as failure:
                reason = (
                    f"{command.decision.remedy} failed (training stopped in stage {failure.stage}); retrained instead"
                )
            except (RaymuError, OSError):  # of files, of the storage, or of another coordinator
                raise
            except Exception as failure:  # of the model's own code, which the forget set may be too small for
                # Its text may name samples, and a receipt, which is never deleted, keeps the reason.
                problem = f"{type(failure).__name__} in the model's code"
                reason = f"{command.decision.remedy} failed ({problem}); retrained instead"
        if patch is None:
            report = yield from self._retrain(task, retain, reason)
        else:
            self._stages.discard(command)
            report = self._patch_report(task, retain, patch, reason)
        meter = ChangeMeter(self._spec, self._files, device=self._device)
        try:
            with pinned(self._device, self._config.cluster.threads):
                change = meter.measure(command.lineage, report.lineage, forget=forget, retain=retain, unseen=unseen)
        except (RaymuError, OSError):
            raise
        except Exception:  # the model's own code may refuse to predict so few samples, and the repair is done
            return report
        return replace(report, change=change)

    def _unseen(self, task: RepairTask) -> ShardSamples | None:
        """Read samples of another shard. A retraining needs none, and is not stopped by a file that is lost."""
        try:
            return read_unseen(self._store, task.command, self._hashes(task.unseen_forgotten))
        except (FileMissing, FileCorrupt, FileUnreadable):
            if task.command.decision.remedy is Remedy.RETRAIN:
                return None
            raise

    def _patch(
        self, task: RepairTask, forget: ShardSamples, retain: ShardSamples, unseen: ShardSamples | None
    ) -> Patch:
        patcher = ShardPatcher(self._spec, self._config.unlearning, task.command, self._files, device=self._device)
        with deterministic(
            self._device, self._config.cluster.threads, self._spec.workers, self._spec.training, lane=self._spec.lane
        ):
            return patcher.patch(forget, retain, unseen)

    def _retrain(
        self, task: RepairTask, retain: ShardSamples, reason: str
    ) -> Generator[StageProgress | LaneWait, None, RepairReport]:
        """Restore the checkpoint before the earliest touched slice, and train that slice's stage and all later ones."""
        command, before = task.command, task.command.lineage
        trained = yield from self._stages.train(retain, command, self._spec, determinism=self._determinism)
        if trained.earlier_classes:
            differences = "; ".join(
                describe_difference(earlier, trained.determinism) for earlier in trained.earlier_classes
            )
            reason = (
                f"{reason}; inconclusive, since its earlier stages are of another determinism class ({differences})"
            )
        kept = before.inexact if command.earliest_slice else ()  # of stages that are not trained again
        inexact = tuple(dict.fromkeys((*self._inexact, *kept)))
        if inexact:
            reason = f"{reason}; inconclusive, since {'; '.join(inexact)}"
        retained = self._retained_samples(task)
        lineage = before.retrained(
            table=retained.table,
            index=retained.index,
            slice_samples=retain.slice_samples(self._slices),
            checkpoints=trained.checkpoints,
            updates=trained.updates,
            seconds_per_pass=update_seconds_per_pass(
                before.seconds_per_pass,
                whole_passes=training_passes(before.slice_samples, self._spec.epochs, stages=range(self._slices)),
                passes=trained.passes,
                seconds=max(0.0, trained.seconds - before.seconds_per_stage * len(trained.checkpoints)),
            ),
            earlier_classes=trained.earlier_classes,
            inexact=inexact,
        )
        return RepairReport(
            command_id=command.command_id,
            request_ids=command.request_ids,
            planned=command.decision,
            remedy=Remedy.RETRAIN,
            reason=reason,
            lineage=lineage,
            passes=trained.passes,
            seconds=trained.seconds,
            determinism=trained.determinism,
        )

    def _patch_report(self, task: RepairTask, retain: ShardSamples, patch: Patch, reason: str) -> RepairReport:
        """Write a patched state and its table, and report the repair."""
        command, before, started = task.command, task.command.lineage, time.perf_counter()
        patch.trainer.reset_optimizer()  # its moments saw the forgotten samples, and training never continues from a patch
        payload, weights = patch.trainer.dump(stage=self._slices - 1, determinism=self._determinism)
        file = self._files.write(command.shard, "patched", payload)
        write_s = time.perf_counter() - started  # a stage's seconds have that of its checkpoint too
        retained = self._retained_samples(task)
        lineage = before.patched(
            command.earliest_slice,
            command.request_ids,
            table=retained.table,
            index=retained.index,
            slice_samples=retain.slice_samples(self._slices),
            updates=patch.updates,
            serving=replace(before.serving, stage=self._slices - 1, file=file, weights_sha256=weights),
        )
        return RepairReport(
            command_id=command.command_id,
            request_ids=command.request_ids,
            planned=command.decision,
            remedy=command.decision.remedy,
            reason=reason,
            lineage=lineage,
            passes=patch.passes,
            seconds=patch.seconds + write_s,
            determinism=self._determinism,
            forget_loss=patch.forget_loss,
            unseen_loss=patch.unseen_loss,
        )

    def _retained_samples(self, task: RepairTask) -> SampleFiles:
        return write_without(self._store, task.command.shard, task.command.lineage.sample_files, task.forget)

    @property
    def _slices(self) -> int:
        return len(self._spec.epochs)

    def _hashes(self, sample_ids: Iterable[SampleId]) -> Hashes:
        return identity_hashes(sample_ids, seed=self._spec.seed, purpose="sample")
