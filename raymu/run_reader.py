"""A run as it is read: its settings, status, requests and receipts, and the documents made of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raymu.backends import Backend, backend_of
from raymu.config import ClusterConfig, Config
from raymu.core.deadlines import Deadline
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.core.trust import EVERYTHING, Trust
from raymu.core.uri import basename, redacted
from raymu.errors import RaymuError, RunInvalid, RunRolledBack
from raymu.service.followed_history import FollowedHistory
from raymu.service.requests.lookup import FoundRequest, find_requests
from raymu.service.requests.revocation import Revocation, listed_ids
from raymu.service.requests.revoked_subjects import require_all_registered
from raymu.service.served import Waiting, served_generation, waiting_requests
from raymu.service.shard.messages import ShardLocations
from raymu.service.status import RunStatus, receipts, receipts_and_waits, receipts_of, signed_receipts, status
from raymu.service.waiting_group import GroupWait, group_waits
from raymu.shown_record import ShownRecord
from raymu.store.anchors import KeptAnchors, MissingEvent, older_copy
from raymu.store.run import RunStore
from raymu.store.trust_list import read_trust
from raymu.text import one_line, plural
from raymu.user_paths import absolute, local_path

if TYPE_CHECKING:
    from raymu.service.attestations import AttestationFolder
    from raymu.service.audit.document import AuditDocument
    from raymu.service.audit.report import AuditReport
    from raymu.service.audit.snapshot_report import SnapshotReport
    from raymu.service.backup import Backup
    from raymu.service.planning.forecast import Forecast
    from raymu.store.manifest import RunManifest

_log = logging.getLogger(__name__)


class RunReader(ShownRecord):
    """A run that is read: what it is, what was revoked from it, and with what result. Reading starts nothing."""

    def __init__(
        self,
        run_dir: str | Path,
        *,
        address: str | None = None,
        trust: bool | Trust = False,
        take_over: bool = False,
    ) -> None:
        """Open a run to read it. The parameters and errors are those of `Run`."""
        self.location, self._address, self._take_over = absolute(run_dir), address, take_over
        self.trust: Trust = trust if isinstance(trust, Trust) else EVERYTHING if trust else read_trust()
        """What the run's settings may ask for."""
        self._store = RunStore(self.location, trust=self.trust)
        self._history = FollowedHistory(self._store)
        self._is_copy_reported = False

    @property
    def config(self) -> Config:
        return self._store.config

    @property
    def manifest(self) -> RunManifest:
        """What the run is: its settings, its classes, and what was converted when its training file was read."""
        return self._store.manifest

    @property
    def run_id(self) -> str:
        """Id of the run, which stays as long as the run exists."""
        return self._store.manifest.run_id

    @property
    def generation(self) -> int | None:
        """Number of the generation that is served; None before the run is trained."""
        with suppress(RunInvalid):
            return served_generation(self._store).number
        return None

    @property
    def cluster(self) -> ClusterConfig:
        """The cluster settings, with the address that this object was opened with. Raises RunUntrusted."""
        configured = self.config.cluster
        if self._address is None:
            self._store.require_trusted("cluster.address")
        return replace(configured, address=self._address or configured.address)

    def require_not_rolled_back(self) -> None:
        """Compare the run with the anchor that this user keeps of it, and keep the latest.

        Every method does this, except `verify`, which reports it, and `stop`. A copy elsewhere that is older than the run
        this user knows is used all the same, and a line on the log says so.

        Raises:
            RunRolledBack: An older copy was put in the run's place.
        """
        missing = self._anchors.missing_event()
        if missing is None:
            return
        if missing.is_here:
            raise RunRolledBack(redacted(self.location), missing.sequence)
        if not self._is_copy_reported:
            self._is_copy_reported = True
            _log.warning("raymu: %s is %s", one_line(redacted(self.location)), older_copy(missing))

    def _require_nothing_lost(self) -> None:
        """Raise RunRolledBack, or RunInvalid if a registry knows requests that the run lacks."""
        self.require_not_rolled_back()
        require_all_registered(self._store)

    def accept_rollback(self) -> None:
        """Keep the anchor of the run as it is now, after it was put back to an older copy on purpose."""
        self._anchors.accept()

    def status(self, *, locations: ShardLocations | None = None) -> RunStatus:
        """Read the run's status. The `locations` are shown with the shards. Raises RunInvalid if it is not trained."""
        self.require_not_rolled_back()
        return status(self._store, locations=locations, followed=self._history)

    def unsettled(self) -> tuple[Deadline, ...]:
        """Return the deadlines of the requests that are not exact yet, the earliest first; none before the run is trained.

        A detached coordinator settles them in time. Without one, whoever uses the run does.
        """
        with suppress(RunInvalid):
            return self.status().deadlines
        return ()

    def waiting(self) -> Waiting | None:
        """Return what predictions are made from while accepted requests wait to be carried out; None if none waits."""
        return waiting_requests(self._store, followed=self._history)

    def receipts(self, request_ids: Collection[str] | None = None) -> list[Receipt]:
        """Return the receipts of these requests, or of all, in the order of acceptance."""
        self.require_not_rolled_back()
        if request_ids is None:
            return list(receipts(self._store))
        return list(receipts_of(self._store, request_ids, followed=self._history))

    def group_waits(self, request_ids: Collection[str]) -> dict[str, GroupWait]:
        """Return what some requests wait for together with others before predictions come from their repaired states.

        With `unlearning.publish`, a request is forgotten at once, and its shards are rewound or abstain until its group is
        visible. Requests that do not wait are left out.

        Args:
            request_ids: The requests.
        """
        self.require_not_rolled_back()
        return group_waits(self._store, request_ids)

    def receipts_and_waits(
        self, request_ids: Collection[str] | None = None
    ) -> tuple[list[Receipt], dict[str, GroupWait]]:
        """Return what `receipts` and `group_waits` return for these requests, or for all, of one reading of the journal."""
        self.require_not_rolled_back()
        known, waits = receipts_and_waits(self._store, request_ids, followed=self._history)
        return list(known), waits

    def find_requests(
        self,
        *,
        ids: Sequence[SampleId] = (),
        owners: Sequence[SampleId] = (),
        keys: Sequence[str] = (),
    ) -> list[FoundRequest]:
        """Return which request revoked each of these samples, named each owner, or has each idempotency key.

        The run keeps keyed hashes of them, so that what was purged is found too. Samples of an owner that were revoked by
        their ids are not found by the owner.
        """
        return find_requests(self._store, ids=ids, owners=owners, keys=keys)

    def signed_receipts(self, request_ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the last receipt of each of these requests, or of all, as it was issued.

        Receipts are signed (Ed25519, by the key of signing.pub), and each names the hash of the receipt issued before it.
        The first receipt of a request that was patched and then settled is left out, so the chain cannot be followed from
        the result. `verify` follows it.
        """
        self.require_not_rolled_back()
        return signed_receipts(self._store, request_ids)

    def attest_receipts(self, out: str | Path, request_ids: Collection[str] | None = None) -> AttestationFolder:
        """Write receipts for others, who can check them without raymu: docs/check_receipts.py does.

        Each becomes one JSON file: the receipt as a statement of in-toto in a DSSE envelope, and the proof that it is one of
        the receipts that the run issued. A request that was patched and then settled has two receipts.

        Args:
            out: A new folder. It gets the public key too.
            request_ids: The requests; None for all.

        Raises:
            RequestInvalid: The folder cannot be written, or there is no receipt.
            FileCorrupt: A receipt was changed. Nothing is signed then.
        """
        from raymu.service.attestations import write_attestations

        self.require_not_rolled_back()
        return write_attestations(self._store, local_path(out), request_ids)

    def plan(
        self,
        ids: Sequence[SampleId] = (),
        *,
        owner: SampleId | None = None,
        strategy: str | None = None,
        boundary: float | str | None = None,
        ignore_unknown: bool = False,
        workers: int | None = None,
    ) -> Forecast:
        """Forecast the cost of a request under every strategy. Nothing changes.

        Args:
            ids: The samples.
            owner: All samples of this owner, instead of `ids`.
            strategy: The strategy to forecast in detail instead of the configured one.
            boundary: The hybrid boundary instead of the configured one.
            ignore_unknown: Leave out ids that are unknown or revoked, as `revoke` does.
            workers: Shards that are repaired side by side. The default is as many as trained the run.
        """
        from raymu.service.planning.forecast import plan

        self.require_not_rolled_back()
        revocation = Revocation(
            ids=listed_ids(ids), owner=owner, strategy=strategy, boundary=boundary, ignore_unknown=ignore_unknown
        )
        return plan(self._store, revocation, workers=workers, followed=self._history)

    def audit_document(self, report: AuditReport | SnapshotReport) -> dict[str, Any]:
        """Return an audit as a document that names this run and its state, signed if the signing key can be read."""
        from raymu.service.audit.document import audit_document

        return audit_document(self._store, report)

    def read_audit(self, path: str | Path) -> AuditDocument:
        """Read the document of an audit of this run, and check its signature and what it says about the run.

        Raises:
            RequestInvalid: It is not an audit of this run, or was changed.
        """
        from raymu.service.audit.document import read_audit

        self.require_not_rolled_back()
        return read_audit(self._store, Path(path))

    def backup(self, target: str | Path, *, check: bool = False) -> Backup:
        """Bring the backup at a place up to the present state of the run. A coordinator may go on meanwhile.

        The place holds one state: what the run has purged since the last backup there is destroyed.

        Args:
            target: An empty or missing folder, or one with an earlier backup of this run, as a path or a URI.
            check: Read the files that are there, and copy again those that are not as they were written.

        Raises:
            RequestInvalid: Something else is there.
            RaymuError: RunInvalid, FileMissing, FileCorrupt, StorageFailed.
        """
        from raymu.service.backup import back_up

        self._require_nothing_lost()
        return back_up(self._store, absolute(target), is_checked=check)

    def _missing_event(self) -> MissingEvent | None:
        """Return what the run lacks of what this user saw. What cannot be read, the verification reports."""
        with suppress(RaymuError):
            return self._anchors.missing_event()
        return None

    def _forget_parent(self) -> None:
        """In a forked child, share nothing with the parent."""
        self._history = FollowedHistory(self._store)

    @property
    def _facts(self) -> dict[str, object]:
        """What the table in a notebook says; of a run that cannot be read, only its name."""
        name: dict[str, object] = {"name": basename(self.location)}
        try:
            known = status(self._store, followed=self._history)
        except (RaymuError, OSError) as error:
            return name | {"not read": type(error).__name__}
        shards = f"{plural(len(known.shards), 'shard')} of {plural(known.slices, 'slice')}"
        requests = {"requests": known.requests.accepted, "exact": known.requests.settled}
        return name | {
            "generation": known.generation,
            "layout": shards,
            **requests,
            "shards in debt": known.debt.shards,
        }

    def __repr__(self) -> str:
        """Return the name alone: a debugger or a log that shows an object does not wait for its storage."""
        return f"{type(self).__name__}(name {one_line(basename(self.location))})"

    @property
    def _anchors(self) -> KeptAnchors:
        return KeptAnchors(self._store)

    @cached_property
    def _backend(self) -> Backend:
        return backend_of(self._store, self.cluster, self.trust, take_over=self._take_over)
