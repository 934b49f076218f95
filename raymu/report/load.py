"""Read everything that the page shows of a run, at one time. Nothing is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from raymu.core.events import Event, GenerationEvaluated
from raymu.core.receipt import Receipt
from raymu.core.records import Generation
from raymu.core.uri import basename
from raymu.core.verdict import Check, LastVerdict
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable
from raymu.service.audit.document import AuditDocument
from raymu.service.history import History, replay_events
from raymu.service.served import rewound_for_accepted
from raymu.service.status import RunStatus, status_of
from raymu.store.codec import parse_json
from raymu.store.manifest import RunManifest
from raymu.store.receipts import ReceiptRow
from raymu.store.run import RunStore
from raymu.training.checkpoint_metadata import read_metadata

if TYPE_CHECKING:
    from raymu.service.prediction import Evaluation
    from raymu.service.verify.verify import Verification


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The accuracy of the current generation, measured for the page."""

    file: str
    """Name of the test data."""
    evaluation: Evaluation | None
    """None if no constituent votes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuedReceipt:
    """The place of a receipt in the chain of those that were issued, and its signature."""

    number: int
    """From 1."""
    sha256: str
    """Hash of the receipt as it was signed, which the next receipt names."""
    previous_sha256: str
    """Hash of the receipt before it; empty for the first."""
    signature: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalRecord:
    """What the page needs of a journal."""

    history: History
    """Of all events, with every request."""
    events: tuple[Event, ...]
    issued: Mapping[str, IssuedReceipt]
    """Request -> its latest receipt as it was issued."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """All that the page is made from."""

    name: str
    """Name of the run directory."""
    read_at: datetime
    manifest: RunManifest
    generation: Generation
    status: RunStatus
    receipts: tuple[Receipt, ...]
    issued: Mapping[str, IssuedReceipt]
    """Request -> its latest receipt as it was issued."""
    key_fingerprint: str | None
    """SHA-256 of the public key that receipts are signed with; None if the key cannot be read, or is
    another than the manifest names."""
    events: tuple[Event, ...]
    evaluations: tuple[GenerationEvaluated, ...]
    determinism: str | None
    """Determinism class of a served state, as JSON; None if the state cannot be read."""
    measured: Measurement | None = None
    verification: Verification | None = None
    last_verdicts: tuple[LastVerdict, ...] = ()
    """How the commands that check the run ended last."""
    audit: Any = None
    """The JSON document of an audit of this run."""
    audit_source: str = ""
    """What it is an audit of, and what vouches for it."""
    snapshots: Any = None
    """The JSON document of an audit with two snapshots of this run."""
    snapshots_source: str = ""
    """What it is an audit of, and what vouches for it."""


def read_run(
    store: RunStore,
    *,
    now: datetime,
    measured: Measurement | None = None,
    verification: Verification | None = None,
    audit: AuditDocument | None = None,
    snapshots: AuditDocument | None = None,
    journal: JournalRecord | None = None,
) -> RunRecord:
    """Read a run.

    Args:
        store: The run.
        now: When the page is written.
        measured: The accuracy to show.
        verification: The verification to show.
        audit: The audit to show, which was checked against the run.
        snapshots: The audit with two snapshots to show, which was checked too.
        journal: What was read of the journal before. By default, it is read now.

    Raises:
        RunInvalid: The run is not trained.
        FileMissing: A file of the current generation is missing.
        FileCorrupt: Such a file is damaged.
    """
    journal = journal or _read_journal(store)
    history = journal.history
    generation = rewound_for_accepted(store.current(), history)
    return RunRecord(
        name=basename(store.location),
        read_at=now,
        manifest=store.manifest,
        generation=generation,
        status=status_of(store, generation, history, now=now),
        receipts=tuple(receipt.at(now) for receipt in history.receipts.receipts()),
        issued=journal.issued,
        key_fingerprint=key_fingerprint(store),
        events=journal.events,
        evaluations=history.evaluations,
        determinism=_determinism(store, generation),
        measured=measured,
        verification=verification and _without_location(verification, f"{store.files.display_location}/"),
        last_verdicts=store.verdicts.all(run=store.manifest.run_id),
        audit=audit.tree if audit else None,
        audit_source=str(audit) if audit else "",
        snapshots=snapshots.tree if snapshots else None,
        snapshots_source=str(snapshots) if snapshots else "",
    )


def _read_journal(store: RunStore) -> JournalRecord:
    with closing(store.journal(is_read_only=True)) as journal:
        events = tuple(journal.events())
        issued = {row.request_id: issued_receipt(row) for row in journal.receipt_rows()}
    return JournalRecord(history=replay_events(events, store.manifest), events=events, issued=issued)


def _without_location(verification: Verification, location: str) -> Verification:
    """Remove the location of the run from findings: it is not for readers of the page."""

    def shortened(check: Check) -> Check:
        findings = (replace(finding, what=finding.what.replace(location, "")) for finding in check.findings)
        return replace(check, findings=tuple(findings))

    return replace(verification, checks=tuple(map(shortened, verification.checks)))


def issued_receipt(row: ReceiptRow) -> IssuedReceipt:
    """Read how a receipt was signed. Raises FileCorrupt."""
    document = parse_json(row.document, source="a receipt")
    try:
        previous, signature = document["ledger"]["previous_sha256"], document["signature"]
    except (KeyError, TypeError, IndexError) as error:
        raise FileCorrupt("a receipt", "not what was written: it is not signed") from error
    return IssuedReceipt(number=row.number, sha256=row.sha256, previous_sha256=str(previous), signature=str(signature))


def key_fingerprint(store: RunStore) -> str | None:
    """Return the SHA-256 of the public key that receipts are signed with; None if it cannot be read, or is another."""
    with suppress(FileMissing, FileUnreadable, FileCorrupt):
        store.require_bound_key()
        return hashlib.sha256(store.keys.public_key).hexdigest()
    return None


def _determinism(store: RunStore, generation: Generation) -> str | None:
    """Read the determinism class of the state that the first shard serves; None if its file is damaged."""
    with suppress(FileMissing, FileCorrupt, FileUnreadable):
        payload = store.files.read_checked(generation.lineages[0].serving.file)
        determinism = read_metadata(payload).get("determinism")
        return None if determinism is None else str(determinism)
    return None
