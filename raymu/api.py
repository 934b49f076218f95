"""The Python API: train a run, open one, and ask of it what the command line asks.

What needs PyTorch or Ray is imported by the method that uses it: opening a run and reading its status need neither.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from raymu.config import ClusterConfig, Config
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.core.uri import is_uri, redacted
from raymu.errors import (
    ConfigInvalid,
    CoordinatorLost,
    DataInvalid,
    DeviceUnavailable,
    RaymuError,
    RequestInvalid,
    RunInvalid,
    TrainingFailed,
)
from raymu.service.coordinator.calls import RebuildReport, SettleReport, TrainingReport
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.shard.messages import Progress, ShardLocations, no_progress
from raymu.service.status import RunStatus, receipts, signed_receipts, status, trained_on
from raymu.store.run import RunStore
from raymu.text import one_line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from raymu.core.tuning import Constraints, Search
    from raymu.service.audit.forget_set import AuditScope
    from raymu.service.audit.report import AuditReport
    from raymu.service.coordinator.client import CoordinatorClient
    from raymu.service.planning.forecast import Forecast
    from raymu.service.prediction import Ensemble, Evaluation
    from raymu.service.tuning.report import TuningReport
    from raymu.service.verify.verify import Verification

__all__ = ["Revocation", "Run", "SubmissionResult", "open_run", "train"]


_REFUSALS = (ConfigInvalid, DataInvalid, DeviceUnavailable, TrainingFailed)
"""What settling could not mend: such a training leaves nothing behind."""


class Run:
    """A trained run. Reading needs no cluster; the coordinator starts with the first call that changes something.

    Close it, or use it in a `with` statement, to stop what it started.
    """

    def __init__(self, run_dir: str | Path, *, address: str | None = None) -> None:
        """run_dir: a path, or a URI such as s3://bucket/run; address: of the Ray cluster, the configured one where not given

        Raises RunInvalid where nothing answers there.
        """
        self.location, self._address = _absolute(run_dir), address
        self._store = RunStore(self.location)
        self._training: TrainingReport | None = None
        self._coordinator: CoordinatorClient | None = None
        self._ensemble: Ensemble | None = None

    @property
    def config(self) -> Config:
        return self._store.config

    @property
    def cluster(self) -> ClusterConfig:
        """What its shards are to have, and where."""
        configured = self.config.cluster
        return replace(configured, address=self._address or configured.address)

    @property
    def training(self) -> TrainingReport:
        """What training cost. Raises RunInvalid where this object did not train the run."""
        if self._training is None:
            raise RunInvalid(redacted(self.location), "was trained earlier: only `train` returns what training cost")
        return self._training

    def coordinator(self) -> CoordinatorClient:
        """The coordinator, started if need be. Raises DeviceUnavailable, RunInvalid."""
        self._ensemble = None  # it may descend from what is revoked now
        if self._coordinator is None:
            self._coordinator = _open_coordinator(self.location, self.cluster)
        return self._coordinator

    def up(self) -> bool:
        """Start a coordinator that stays on the cluster, until `down`: whoever opens the run there has it serve them.

        returns: whether it was up already. Raises DeviceUnavailable where no cluster is there that stays.
        """
        self._require_cluster()
        self.close()
        from raymu.runtime.detached_client import (
            start_coordinator,
        )

        return start_coordinator(self.location, self.cluster)

    def down(self) -> bool:
        """End the coordinator that `up` started, and its workers. returns: whether it was up. Raises DeviceUnavailable."""
        self._require_cluster()
        self.close()
        from raymu.runtime.detached_client import (
            stop_coordinator,
        )

        return stop_coordinator(self.location, self.cluster)

    def _require_cluster(self) -> None:
        if self.config.cluster.fleet == "local":
            raise RequestInvalid(
                "this run works without a cluster (cluster.fleet is local); no coordinator of it stays up"
            )

    def warm_up(self) -> None:
        """Start the workers now, so that the first request does not wait for them."""
        self.coordinator().warm_up()

    def revoke(
        self,
        ids: Sequence[SampleId] = (),
        *,
        owner: SampleId | None = None,
        strategy: str | None = None,
        boundary: float | str | None = None,
        due: datetime | None = None,
        key: str | None = None,
        progress: Progress = no_progress,
    ) -> Receipt:
        """Take samples out: rewound at once, then repaired, published and purged. returns: the receipt

        Raises RequestInvalid, UnknownSamples, UnknownOwner, SamplesRevoked, IdempotencyConflict, and then nothing has
        changed.
        """
        asked = Revocation(ids=_listed(ids), owner=owner, strategy=strategy, boundary=boundary, due=due, key=key)
        return self.revoke_together([asked], progress=progress)[0]

    def revoke_together(self, asked: Sequence[Revocation], *, progress: Progress = no_progress) -> list[Receipt]:
        """Several requests at once: those that wait for the same shard are served by one remedy."""
        if self._coordinator is None:  # one that is opened takes the run over, from another that may be at work
            from raymu.service.planning.forecast import check_requests

            check_requests(self._store, asked)
        return self.coordinator().revoke(list(asked), progress)

    def submit(self, asked: Sequence[Revocation], *, progress: Progress = no_progress) -> list[SubmissionResult]:
        """Any number of requests, each accepted or refused by itself, as if they came one after another.

        Each shard that they touch is repaired once. returns: what each is told; `receipts` has more on the accepted ones
        """
        return self.coordinator().submit(list(asked), progress)

    def settle(self, *, due_within: timedelta | None = None, progress: Progress = no_progress) -> SettleReport:
        """Retrain exactly what was only patched, and finish what was interrupted.

        due_within: only what is owed to requests that are due by then
        """
        due_by = None if due_within is None else datetime.now(UTC) + due_within
        return self.coordinator().settle(progress, due_by)

    def rebuild(self, *, data: str | Path | None = None, progress: Progress = no_progress) -> RebuildReport:
        """Make good what is missing or changed: samples from a copy that is at hand, states by training again.

        data: the file that the run was trained from. Raises SamplesLost where nothing gives the samples back.
        """
        return self.coordinator().rebuild(progress, None if data is None else _absolute(data))

    def configure(self, **unlearning: Any) -> None:
        """Change settings of `unlearning`, such as strategy="ohs" or ohs={"epochs": 1}, for the requests to come.

        The others stay as they are. Raises ConfigInvalid, RequestInvalid.
        """
        tree = self.config.tree()
        own = tree["unlearning"]
        if isinstance(ohs := unlearning.get("ohs"), Mapping):
            unlearning["ohs"] = {**own["ohs"], **ohs}
        own |= unlearning
        self.coordinator().configure(Config.parse(tree).unlearning)
        self.close()
        self._store = RunStore(self.location)

    def tune(
        self,
        wanted: Search,
        constraints: Constraints,
        *,
        out: str | Path,
        traffic: str | None = None,
        trace: str | Path | None = None,
        test: str | Path | None = None,
        workers: int | None = None,
        progress: Callable[[int, int], None] = lambda _done, _of: None,
    ) -> TuningReport:
        """Search for the hybrid boundary on branches of this run, which itself stays as it is.

        out: a local folder for the search's state and results, best on the run's disk; one that broke off there goes on
        traffic: such as uniform:50, or trace: a file of requests; test: a labelled table, data.test where not given
        workers: that repair side by side; as many as trained the run where not given; progress: told of trials
        Raises RunInvalid where the run owes retraining, TraceInvalid, RequestInvalid, DeviceUnavailable.
        """
        if is_uri(str(out)):
            raise RequestInvalid(f"{redacted(str(out))}: trials need a folder on a local disk; name one with --out")
        from raymu.runtime.tuning import tune_boundary
        from raymu.service.tuning.objective import ObjectiveSpec

        measured = test or self.config.data.test
        if measured is None:
            raise RequestInvalid("trials are judged on labelled test data; give --data, or train with data.test")
        plan = ObjectiveSpec(
            location=self.location,
            traffic=traffic,
            trace=None if trace is None else _absolute(trace),
            test=_absolute(measured),
            scratch=str(Path(out).absolute()),
            workers=workers or trained_on(self._store),
        )
        return tune_boundary(plan, wanted, constraints, cluster=self.cluster, progress=progress)

    def audit(
        self, scope: AuditScope, *, progress: Callable[[int, int], None] = lambda _done, _of: None
    ) -> AuditReport:
        """Attack what was forgotten, beside the retrained oracle and the control; nothing is written.

        progress: told how many models are trained, and of how many. Raises RequestInvalid, DataInvalid, ConfigInvalid.
        """
        from raymu.service.audit.audit import audit

        if self.config.cluster.fleet == "local":
            return audit(self._store, scope, progress=progress)
        from raymu.runtime.audit import audit_runner

        with audit_runner(self.cluster) as run_tasks:
            return audit(self._store, scope, run_tasks=run_tasks, progress=progress)

    def verify(
        self, *, replay: Collection[int] | None = (), anchor: str | None = None, progress: Progress = no_progress
    ) -> Verification:
        """Check the journal, the receipts, every file, the lineage and the purge; nothing is written.

        replay: shards to train again from scratch, None for all; anchor: what an earlier verification ended with
        """
        from raymu.service.verify.verify import verify

        shards = range(self.config.partition.shards) if replay is None else replay
        return verify(self._store, progress, replay=shards, anchor=anchor)

    def plan(
        self,
        ids: Sequence[SampleId] = (),
        *,
        owner: SampleId | None = None,
        strategy: str | None = None,
        boundary: float | str | None = None,
        workers: int | None = None,
    ) -> Forecast:
        """Forecast a request with every strategy; nothing changes."""
        from raymu.service.planning.forecast import plan

        asked = Revocation(ids=_listed(ids), owner=owner, strategy=strategy, boundary=boundary)
        return plan(self._store, asked, workers=workers)

    def places(self) -> ShardLocations:
        """Where the shards live that are in an actor's memory, as the coordinator says that is open here, or stays up.

        Starts nothing; nothing where no coordinator answers. Raises DeviceUnavailable where the cluster cannot be joined.
        """
        with suppress(CoordinatorLost):
            if self._coordinator is not None:
                return self._coordinator.places()
            from raymu.runtime.known_cluster import may_find_cluster

            if self.config.cluster.fleet == "ray" and may_find_cluster(self.cluster.address):
                from raymu.runtime.detached_client import detached_locations

                return detached_locations(self.location, self.cluster)
        return {}

    def status(self, *, places: ShardLocations | None = None) -> RunStatus:
        """places: shown with the shards, as `places` returns them; everything else is read from the run"""
        return status(self._store, places=places)

    def receipts(self, request_ids: Collection[str] | None = None) -> list[Receipt]:
        """The receipts of these requests, or of all, in the order of acceptance."""
        every = receipts(self._store)
        return [one for one in every if request_ids is None or one.request_id in request_ids]

    def signed_receipts(self, request_ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The receipts as they were issued, chained and signed (Ed25519; the public key is the run's signing.pub)."""
        return signed_receipts(self._store, request_ids)

    def predict(self, features: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """features: (samples, *input shape). returns: (samples, classes) float32, from one generation"""
        return self._current().predict(features)

    def evaluate(self, features: npt.NDArray[np.generic], labels: npt.NDArray[np.int64]) -> Evaluation:
        """labels: (samples,) int64"""
        return self._current().evaluate(features, labels)

    def evaluate_file(self, path: str) -> Evaluation:
        """Evaluate on a table with labels. Raises DataInvalid."""
        from raymu.data.tables import read_features

        fields = replace(self.config.data, classes=self._store.manifest.classes)
        table = read_features(path, fields)
        if table.labels is None:
            raise DataInvalid(path, f"has no column {fields.label}; evaluation needs labels")
        return self.evaluate(table.features, table.labels)

    def close(self) -> None:
        if self._coordinator is not None:
            self._coordinator.close()
            self._coordinator = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _train(self, progress: Progress) -> None:
        self._training = self.coordinator().train(progress)

    def _current(self) -> Ensemble:
        """The current generation's constituents, loaded once for each generation."""
        from raymu.service.prediction import Ensemble

        if self._ensemble is None or self._ensemble.generation.number != self._store.current().number:
            self._ensemble = Ensemble.current(self._store)
        return self._ensemble


def train(
    config: Config,
    run_dir: str | Path,
    *,
    exclude: Collection[SampleId] = (),
    address: str | None = None,
    progress: Progress = no_progress,
) -> Run:
    """Train a new run in an empty directory (a path, or a URI). exclude: samples that it never gets to see

    address: of the Ray cluster to work on this time, the configured one where not given
    Raises ConfigInvalid, DataInvalid, UnknownSamples, RunInvalid, DeviceUnavailable, TrainingFailed, and then nothing is left
    of it; StorageFailed too, while it is written. Where the cluster or the storage lets its training down later, or it is
    interrupted, settling the run finishes it.
    """
    from raymu.service.ingest import prepare_run

    run = Run(run_dir, address=address)
    ingest = prepare_run(config.relative_to(Path.cwd()), run.location, exclude=exclude)
    ingest.write()
    try:
        run._train(progress)
    except BaseException as error:
        with suppress(RaymuError):
            run.close()
        if isinstance(error, _REFUSALS):
            ingest.remove()
        raise
    return run


def open_run(run_dir: str | Path, *, address: str | None = None) -> Run:
    """Open a run; where its training broke off, settling finishes it. Raises RunInvalid where there is none.

    address: of the Ray cluster to work on, the configured one where not given
    """
    run = Run(run_dir, address=address)
    _ = run.config
    return run


def _listed(ids: Sequence[SampleId]) -> tuple[SampleId, ...]:
    if isinstance(ids, str | int):  # a text would be taken for a list of its letters
        raise RequestInvalid(f"ids is {one_line(repr(ids))}; give a list of ids")
    return tuple(ids)


def _absolute(run_dir: str | Path) -> str:
    """A path that means the same to actors, which work in directories of their own."""
    return str(run_dir) if is_uri(str(run_dir)) else str(Path(run_dir).absolute())


def _open_coordinator(location: str, cluster: ClusterConfig) -> CoordinatorClient:
    if cluster.fleet == "local":
        from raymu.service.coordinator.client import LocalClient

        return LocalClient(location)
    from raymu.runtime.client import RayClient

    return RayClient(location, cluster)
