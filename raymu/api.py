"""A run in Python: open it, revoke samples, and check the result. Its base classes read it and predict with it.

Methods import what needs PyTorch or Ray when they are called: opening a run and reading its status need neither.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from weakref import WeakSet

from raymu.callbacks.callback import Callback
from raymu.callbacks.watcher import Watcher
from raymu.config import Config
from raymu.connection import Connection
from raymu.console.notebook import counts_shown, stages_shown
from raymu.core.forgetting_error import ORACLES
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.core.stage_measures import StageReport
from raymu.core.trust import Trust
from raymu.core.uri import is_uri, redacted
from raymu.core.verdict import CheckName, LastVerdict
from raymu.data.date_text import END_OF_DAY
from raymu.errors import CoordinatorLost, RaymuError, RequestInvalid, RunInvalid
from raymu.run_predictor import RunPredictor
from raymu.service.coordinator.anchoring_client import AnchoringClient
from raymu.service.coordinator.calls import (
    Call,
    Configure,
    Extend,
    ExtendResult,
    Locations,
    Rebuild,
    RebuildResult,
    Result,
    Revoke,
    RevokeResult,
    Settle,
    SettleResult,
    Submit,
    Train,
    TrainingResult,
    WarmUp,
)
from raymu.service.coordinator.shared_calls import ClientClosed
from raymu.service.coordinator.stage_times import stages_timed
from raymu.service.phase import READING, STARTING, Count, PhaseListener, begin_phase, no_count, no_phase
from raymu.service.requests.revocation import Revocation, SubmissionResult, listed_ids
from raymu.service.shard.messages import Progress, ShardLocations, StageProgress, no_progress
from raymu.service.status import trained_on
from raymu.store.run import RunStore
from raymu.user_paths import absolute, data_location, local_path, table_data

if TYPE_CHECKING:
    from raymu.core.tuning import Constraints, Search
    from raymu.report.write import RunReport
    from raymu.service.audit.forget_set import AuditScope
    from raymu.service.audit.report import AuditReport
    from raymu.service.audit.snapshot_report import SnapshotReport, SnapshotScope
    from raymu.service.coordinator.client import CoordinatorClient
    from raymu.service.tuning.report import TuningReport
    from raymu.service.upgrade import RunUpgrade
    from raymu.service.verify.verify import Verification

__all__ = ["Revocation", "Run", "SubmissionResult", "open_run"]


class Run(RunPredictor):
    """A run. Reading it does not need a cluster. The first call that changes it starts a coordinator.

    Close it, or use it in a `with` statement, to stop what it started. All threads of a process may use one object at once.
    Each gets the progress of its own calls, in its own thread; predictions go on meanwhile, each from one generation.
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        address: str | None = None,
        trust: bool | Trust = False,
        take_over: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Open a run.

        Args:
            run_dir: A path, or a URI such as s3://bucket/run.
            address: The Ray cluster to use instead of the configured one.
            trust: Run the code and make the connections that the run's settings name. The default follows those that this
                user trained a run with, or trusted before, and refuses others by RunUntrusted. A `Trust` follows those of
                the user whose it is, in a process elsewhere.
            take_over: Take the run over from a detached coordinator that is up on a cluster out of reach. Without it,
                calls that change the run raise CoordinatorElsewhere.
            callbacks: Called with stages, generations, receipts and purges, beside those of the settings.

        Raises:
            RunInvalid: The storage at `run_dir` cannot be reached.
            ConfigInvalid: The list of what the user trusts cannot be read.
        """
        super().__init__(run_dir, address=address, trust=trust, take_over=take_over)
        self._training: TrainingResult | None = None
        self._connection = Connection(self._store)
        self._own_callbacks = tuple(callbacks)
        self._watcher = Watcher(self, self._store, self._make_callbacks)
        self._configuring = Lock()
        _of_this_process.add(self)

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[()]]:
        """Pickle what the run was opened with. Another process starts a coordinator of its own."""
        return partial(Run, self.location, address=self._address, trust=self.trust.has_all), ()

    @property
    def training(self) -> TrainingResult:
        """The cost of the training. Raises RunInvalid unless this object trained the run."""
        if self._training is None:
            raise RunInvalid(redacted(self.location), "was trained earlier: only `train` returns what training cost")
        return self._training

    def coordinator(self) -> CoordinatorClient:
        """Return the coordinator that this object uses, connected or started on the first call.

        On a cluster that is the run's detached coordinator if one is running. Otherwise a new coordinator takes the run
        over, from one in another process too.

        Raises:
            DeviceUnavailable: The cluster is not running, or is too small.
            RunInvalid: There is no run, or its journal does not belong to its files.
        """
        self._ensemble = None  # the caller may revoke samples that the loaded ensemble was trained on
        return self._connection.client(self._open_client)

    def _open_client(self, first: Sequence[Revocation] = (), call: Call[Any] | None = None) -> CoordinatorClient:
        """Start or join a coordinator. If one has to be started and refuses a request of `first`, nothing is taken over."""
        self.require_not_rolled_back()
        begin_phase(STARTING)
        return AnchoringClient(self._backend.open_client(first, call), self._anchors)

    def _call(
        self, call: Call[Result], progress: Progress = no_progress, *, first: Sequence[Revocation] = ()
    ) -> Result:
        """Have the coordinator carry out a call."""
        self._ensemble = None  # as in `coordinator`
        with (
            stages_shown(progress) as shown,
            self._watcher.watching(shown) as watched,
            stages_timed(watched) as timed,
        ):
            return self._connection.call(call, timed, open_client=partial(self._open_client, first, call))

    def _make_callbacks(self) -> tuple[Callback, ...]:
        """Return the callbacks of this object, and those of the settings. Raises RunUntrusted, ConfigInvalid."""
        configured = self.config.callbacks
        if not configured:
            return self._own_callbacks
        from raymu.callbacks import build_callbacks

        self._store.require_trusted("callbacks")
        return (*self._own_callbacks, *build_callbacks(configured))

    def start(self) -> bool:
        """Start a detached coordinator, which serves all users who open the run on the cluster, until `stop`.

        Returns:
            Whether it was running already.

        Raises:
            RequestInvalid: The run has no cluster.
            DeviceUnavailable: No cluster is running that outlives this process.
        """
        self.close()
        self.require_not_rolled_back()
        return self._backend.start()

    def stop(self) -> bool:
        """Stop the detached coordinator and its workers.

        Returns:
            Whether it was running.

        Raises:
            RequestInvalid: The run has no cluster.
            DeviceUnavailable: The cluster cannot be joined.
        """
        self.close()
        return self._backend.stop()

    def is_on_cluster(self) -> bool:
        """Return whether requests would be carried out on a Ray cluster now, and not in this process."""
        return self._backend.is_on_cluster(Settle())

    def warm_up(self) -> None:
        """Start the workers now, so that the first request does not wait for them."""
        self._call(WarmUp())

    def revoke(
        self,
        ids: Sequence[SampleId] = (),
        *,
        owner: SampleId | None = None,
        strategy: str | None = None,
        boundary: float | str | None = None,
        due: date | None = None,
        key: str | None = None,
        ignore_unknown: bool = False,
        progress: Progress = no_progress,
    ) -> Receipt:
        """Take samples out of the models: rewind their shards at once, then repair, publish and purge.

        Args:
            ids: The samples.
            owner: All samples of this owner, instead of `ids`.
            strategy: sisa, dpus, hs or ohs instead of the configured one.
            boundary: The hybrid boundary, such as 0.35, "30s" or "deadline:60s", instead of the configured one.
            due: When the samples must be forgotten exactly: a time with a zone, or a date, which is the end of that day here.
                It may be past: the request is overdue then. The default is 30 days from now.
            key: An idempotency key. The same key and request return the same receipt.
            ignore_unknown: Leave out ids that the run does not hold, that are revoked already, or that are named twice,
                instead of refusing the request, as long as some are left.
            progress: Called after every trained stage.

        Returns:
            The receipt.

        Raises:
            RequestInvalid: The request contradicts itself or the run's configuration.
            UnknownSamples: The run never held some of the samples.
            UnknownOwner: The run holds no samples of the owner.
            SamplesRevoked: An earlier request revoked some of the samples.
            SeveralFaults: Several of these at once.
            IdempotencyConflict: The key belongs to another request.
            ShardRepairFailed: A repair failed. The request stays accepted, and settling finishes it.
        """
        revocation = Revocation(
            ids=listed_ids(ids),
            owner=owner,
            strategy=strategy,
            boundary=boundary,
            due=_end_of(due),
            key=key,
            ignore_unknown=ignore_unknown,
        )
        return self.revoke_together([revocation], progress=progress)[0]

    def revoke_together(self, revocations: Sequence[Revocation], *, progress: Progress = no_progress) -> list[Receipt]:
        """Accept all of these requests or none. Each shard that they touch is repaired once.

        Returns:
            The receipts, in the order of the requests.

        Raises:
            ShardRepairFailed: A repair failed. The requests stay accepted, and settling finishes them.
            RaymuError: As `revoke`. None of the requests is accepted then.
        """
        return [*self.revoke_with_results(revocations, progress=progress).receipts]

    def revoke_with_results(
        self, revocations: Sequence[Revocation], *, progress: Progress = no_progress
    ) -> RevokeResult:
        """Accept all of these requests or none, as `revoke_together`, and return what each left out too."""
        return self._call(Revoke(revocations=tuple(revocations)), progress, first=revocations)

    def revoke_many(
        self, revocations: Sequence[Revocation], *, progress: Progress = no_progress
    ) -> list[SubmissionResult]:
        """Accept or refuse any number of requests, as if they arrived one after another.

        Each shard that the accepted ones touch is repaired once.

        Returns:
            The result of each request, in their order. `receipts` has the details of the accepted ones.

        Raises:
            ShardRepairFailed: A repair failed. Accepted requests stay accepted, and settling finishes them.
        """
        return self._call(Submit(revocations=tuple(revocations)), progress)

    def settle(
        self, *, due_within: timedelta | None = None, publish: bool = False, progress: Progress = no_progress
    ) -> SettleResult:
        """Retrain the patched shards exactly, and finish interrupted work.

        Args:
            due_within: Settle only requests that are due within this time.
            publish: Make the repaired states visible that wait for their group, however small it is.
            progress: Called after every trained stage.
        """
        try:
            due_by = None if due_within is None else datetime.now(UTC) + due_within
        except OverflowError:
            raise RequestInvalid(
                f"due within {due_within} is beyond the year 9999; leave it out to settle all"
            ) from None
        return self._call(Settle(due_by=due_by, publish=publish), progress)

    def drop_shard(self, shard: int, *, progress: Progress = no_progress) -> Receipt:
        """Give a shard up that cannot be repaired: revoke all samples that it has left, so that it abstains for good.

        Requests that wait for the shard are carried out with it.

        Args:
            shard: Number of the shard.
            progress: Called after every trained stage.

        Raises:
            RequestInvalid: There is no such shard, it is the only one, or it has no samples left.
        """
        from raymu.service.requests.shard_dropping import samples_left

        return self.revoke(samples_left(self._store, shard), strategy="sisa", progress=progress)

    def rebuild(self, *, data: str | Path | object | None = None, progress: Progress = no_progress) -> RebuildResult:
        """Restore missing or changed files: samples from a remaining copy, states by training again.

        Args:
            data: The file that the run was trained from, or the table in memory.
            progress: Called after every trained stage.

        Raises:
            SamplesLost: No copy has the samples of a shard.
        """
        return self._call(Rebuild(data=None if data is None else table_data(data)), progress)

    def pending_upgrade(self) -> RunUpgrade:
        """Return what `upgrade` would do. Nothing is written."""
        from raymu.service.upgrade import pending_upgrade

        self.require_not_rolled_back()
        return pending_upgrade(RunStore(self.location, trust=self.trust))

    def upgrade(self, *, progress: Progress = no_progress) -> RunUpgrade:
        """Write what an earlier version stored in another way as this version does. Damaged files are restored first.

        Every part is written whole, or stays as it was, and what is done already is left alone. So an upgrade that was
        interrupted is repeated. A run with nothing to upgrade is not taken over.

        Args:
            progress: Called after every trained stage, if work of the run was interrupted before.

        Returns:
            What was done.

        Raises:
            SamplesLost: No copy has the samples of a shard.
            RunInvalid: The run is not trained yet.
        """
        pending = self.pending_upgrade()
        if pending.steps:
            self.rebuild(progress=progress)  # which a coordinator does, that upgrades a run as it takes it over
        return pending

    def extend(
        self,
        data: str | Path | Sequence[str | Path] | object,
        *,
        slices: int = 1,
        epochs: int | None = None,
        ignore_revoked: bool = False,
        progress: Progress = no_progress,
    ) -> ExtendResult:
        """Add samples as further slices of their shards, and train the stages of these. Nothing earlier is trained again.

        The result is that of training from scratch with this history of slices. Shards that were only patched become
        exact.

        Args:
            data: The new samples, with the columns of the training data: a table in memory, as for `train`, or one or more
                files, directories or patterns.
            slices: The slices that the samples become in each shard.
            epochs: The epochs of each new stage; by default those of the last stage.
            ignore_revoked: Leave out samples that the run revoked, by id or by owner, instead of refusing the table.
            progress: Called after every trained stage.

        Raises:
            DataInvalid: The table cannot be read or does not fit the run, or has ids that the run holds or revoked.
            RequestInvalid: A number of slices or epochs is out of range.
            ShardRepairFailed: A shard could not be trained. The samples are added, and settling finishes it.
        """
        from raymu.service.extension import Extension, check_extension

        is_paths = isinstance(data, list | tuple) and all(isinstance(place, str | Path) for place in data)
        table = "\n".join(map(data_location, cast(Sequence[str], data))) if is_paths else table_data(data)
        extension = Extension(data=table, slices=slices, epochs=epochs, ignore_revoked=ignore_revoked)
        self.require_not_rolled_back()
        begin_phase(READING)
        check_extension(self._store, extension)  # before the run is taken over
        return self._call(Extend(extension=extension), progress)

    def configure(self, **unlearning: Any) -> None:
        """Change settings of `unlearning`, such as strategy="ohs" or ohs={"epochs": 1}, for later requests.

        Settings that are not named stay as they are.

        Raises:
            ConfigInvalid: A setting is not valid.
            RequestInvalid: Work is running, or a setting cannot change after training.
        """
        with self._configuring:
            tree = RunStore(self.location, trust=self.trust).config.tree()  # another process may have changed it
            settings = tree["unlearning"]
            if isinstance(ohs := unlearning.get("ohs"), Mapping):
                unlearning["ohs"] = {**settings["ohs"], **ohs}
            settings |= unlearning
            self._call(Configure(unlearning=Config.parse(tree).unlearning))
            self.close()
            self._store = RunStore(self.location, trust=self.trust)

    def tune(
        self,
        search: Search,
        constraints: Constraints,
        *,
        out: str | Path,
        traffic: str | None = None,
        trace: str | Path | None = None,
        test: str | Path | None = None,
        workers: int | None = None,
        oracles: int = ORACLES,
        progress: Count = no_count,
    ) -> TuningReport:
        """Search for the hybrid boundary on branches of this run, which itself does not change.

        Args:
            search: The values to try, and the number of trials.
            constraints: Limits that a choice must keep.
            out: A local folder for the search's state and results. A search that was interrupted there resumes.
            traffic: Requests to draw, such as uniform:50.
            trace: A file of requests, instead of `traffic`.
            test: A labelled table, instead of data.test.
            workers: Shards that are repaired side by side. The default is as many as trained the run.
            oracles: Oracles with other seeds, which the forgetting error is measured by.
            progress: Called with the number of ended trials and the number of all trials.

        Raises:
            RunInvalid: The run has patched shards or interrupted work.
            RaymuError: TraceInvalid, RequestInvalid, DeviceUnavailable.
        """
        self.require_not_rolled_back()
        if is_uri(str(out)):
            raise RequestInvalid(f"{redacted(str(out))}: trials need a folder on a local disk")
        from raymu.runtime.tuning import tune_boundary
        from raymu.service.tuning.objective import ObjectiveSpec

        test_data = test or self._store.data_file("test")
        if test_data is None:
            raise RequestInvalid("trials are scored on labelled test data; name a table, or train with data.test")
        begin_phase(READING)
        objective = ObjectiveSpec(
            location=self.location,
            traffic=traffic,
            trace=None if trace is None else absolute(trace),
            test=data_location(test_data),
            scratch=str(Path(out).absolute()),
            workers=workers or trained_on(self._store),
            oracles=oracles,
        )
        with counts_shown("trial", progress) as (count, _):
            return tune_boundary(objective, search, constraints, trust=self.trust, cluster=self.cluster, progress=count)

    def audit(
        self,
        scope: AuditScope,
        *,
        progress: Count = no_count,
        phase: PhaseListener = no_phase,
    ) -> AuditReport:
        """Attack the forgotten samples, and repeat the remedy, beside retraining and the control. Nothing is written.

        Args:
            scope: The requests to audit, and the data to audit with.
            progress: Called with the number of trained models and the number of all models.
            phase: Called with the name of each part of the work when it begins.

        Raises:
            RaymuError: RequestInvalid, DataInvalid, ConfigInvalid, DeviceUnavailable.
        """
        from raymu.service.audit.audit import audit

        self.require_not_rolled_back()
        with counts_shown("model", progress, phase) as (count, begin), self._backend.audit_runner() as run_tasks:
            report = audit(self._store, scope, run_tasks=run_tasks, progress=count, phase=begin)
        self._count("audit", report)
        return report

    def audit_two_snapshots(
        self,
        scope: SnapshotScope | None = None,
        *,
        progress: Count = no_count,
        phase: PhaseListener = no_phase,
    ) -> SnapshotReport:
        """Measure how well deleted samples are found from predictions before and after. Nothing is written.

        Samples of the run are deleted in memory, one by one and in groups. It is a measurement: nothing passes or fails.

        Args:
            scope: How much is measured, and how large a group is; the usual measurement by default.
            progress: Called with the number of repaired shards and the number of all.
            phase: Called with the name of each part of the work when it begins.

        Raises:
            RaymuError: RequestInvalid, DeviceUnavailable, FileMissing, FileCorrupt.
        """
        from raymu.service.audit.snapshot_report import SnapshotScope
        from raymu.service.audit.two_snapshots import audit_two_snapshots

        self.require_not_rolled_back()
        with counts_shown("repair", progress, phase) as (count, begin), self._backend.audit_runner() as run_tasks:
            return audit_two_snapshots(
                self._store, scope or SnapshotScope(), run_tasks=run_tasks, progress=count, phase=begin
            )

    def verify(
        self, *, replay: Collection[int] | None = (), anchor: str | None = None, progress: Progress = no_progress
    ) -> Verification:
        """Check the journal, the receipts, every file, the lineages and the purge. Nothing is written: see `keep_verdict`.

        Args:
            replay: Shards to train again from scratch and compare bit for bit. None replays all.
            anchor: The anchor of an earlier verification.
            progress: Called after every replayed stage.
        """
        from raymu.service.verify.verify import verify

        shards = range(self.config.partition.shards) if replay is None else replay
        missing, own_term = self._missing_event(), self._connection.open_term
        with stages_shown(progress) as shown:
            begin_phase("checking the files")
            verification = verify(self._store, shown, replay=shards, anchor=anchor, missing=missing, own_term=own_term)
        self._count("verify", verification)
        return verification

    def keep_verdict(self, result: Verification | AuditReport) -> None:
        """Write the verdict of a verification or an audit into the run, with its time, as the commands do.

        The metrics and the pages of `raymu serve` show the last one of each.

        Args:
            result: What `verify` or `audit` returned.

        Raises:
            RunInvalid: A file is in its place that no command wrote.
            StorageFailed: It cannot be written.
            RaymuError: FileMissing or FileCorrupt, if the run or its keys are damaged.
        """
        from raymu.service.audit.report import AuditReport

        self._store.verdicts.keep(self._last_verdict("audit" if isinstance(result, AuditReport) else "verify", result))

    def report(
        self,
        *,
        data: str | Path | None = None,
        verify: bool = False,
        audit: AuditReport
        | SnapshotReport
        | str
        | Path
        | Sequence[AuditReport | SnapshotReport | str | Path]
        | None = None,
        progress: Progress = no_progress,
    ) -> RunReport:
        """Return the page of the run, as `raymu report` writes it. A notebook shows it; `write` puts it into a file.

        Args:
            data: A labelled table to measure the accuracy on.
            verify: Verify the run too, and show the result.
            audit: The result of `audit` or of `audit_two_snapshots`, or a JSON file of one, to show it too; or one of each.
            progress: Called with the progress of the verification.

        Raises:
            RunInvalid: The run is not trained.
            RequestInvalid: An audit cannot be read, is not one of this run, or is the second of its kind.
            RaymuError: DataInvalid, FileMissing, FileCorrupt.
        """
        from raymu.report.write import make_report

        shown = audit if isinstance(audit, Sequence) and not isinstance(audit, str) else [audit] if audit else []
        audits = [local_path(document) if isinstance(document, str | Path) else document for document in shown]
        table = None if data is None else str(data)
        return make_report(self, data=table, is_verified=verify, audits=audits, progress=progress)

    def locations(self) -> ShardLocations:
        """Return which actor has which shard in memory, as this object's coordinator or a detached one reports it.

        Starts nothing. The result is empty if no coordinator answers. Raises DeviceUnavailable if the cluster cannot be
        joined.
        """
        client = self._connection.opened
        if client is None or self.config.cluster.fleet == "local":
            return self._backend.locations()
        with suppress(CoordinatorLost, ClientClosed):
            return client.call(Locations())
        return {}

    def close(self) -> None:
        """Stop the coordinator that this object started, if any. Calls that other threads have begun end first."""
        super().close()  # a coordinator's last act is to close the journal's file, which others must not have open
        self._connection.close()

    def _forget_parent(self) -> None:
        """In a forked child, leave the parent's coordinator alone, and its locks."""
        super()._forget_parent()
        self._connection.forget_parent()
        self._configuring = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, revocations: Sequence[Revocation], *, progress: Progress = no_progress) -> list[SubmissionResult]:
        """Call `revoke_many`, by its name in version 0.1."""
        warnings.warn("Run.submit is now Run.revoke_many", DeprecationWarning, stacklevel=2)
        return self.revoke_many(revocations, progress=progress)

    def _last_verdict(self, check: CheckName, result: Verification | AuditReport) -> LastVerdict:
        return LastVerdict(
            run=self.run_id, check=check, verdict=result.verdict, generation=result.generation, at=datetime.now(UTC)
        )

    def _count(self, check: CheckName, result: Verification | AuditReport) -> None:
        """Count a verdict in the metrics of the run's detached coordinator, if one can be reached."""
        with suppress(RaymuError):  # the verdict is what the caller came for
            self._backend.count_verdict(self._last_verdict(check, result))

    def _train(self, progress: Progress, *, left_out: int) -> None:
        stages: list[StageReport] = []

        def collect(stage: StageProgress) -> None:
            stages.append(stage.report)
            progress(stage)

        self._training = replace(self._call(Train(), collect), stages=tuple(stages), left_out=left_out)
        self._watcher.end_training(self._training)


_of_this_process: WeakSet[Run] = WeakSet()


def _forget_parents() -> None:
    for run in list(_of_this_process):
        run._forget_parent()


os.register_at_fork(after_in_child=_forget_parents)


def open_run(
    run_dir: str | Path,
    *,
    address: str | None = None,
    trust: bool = False,
    take_over: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Open a run. If its training was interrupted, settling finishes it.

    Args:
        run_dir: A path or a URI.
        address: The Ray cluster to use instead of the configured one.
        trust: Run the code and make the connections that the run's settings name, for as long as it is open. Without it,
            only those that this user trained a run with or trusted before are followed.
        take_over: Take the run over from a detached coordinator that is up on a cluster out of reach, for as long as it is
            open.
        callbacks: Called with stages, generations, receipts and purges, beside those of the settings.

    Raises:
        RunInvalid: There is no run.
    """
    run = Run(run_dir, address=address, trust=trust, take_over=take_over, callbacks=callbacks)
    _ = run.config
    return run


def _end_of(due: date | None) -> datetime | None:
    """Return when something is due: a time as it is, and the end of a date in the zone of this machine."""
    if isinstance(due, datetime) or not isinstance(due, date):
        return due
    return datetime.combine(due, END_OF_DAY).astimezone()
