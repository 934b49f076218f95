"""The document of an audit: what it says about which state of which run, signed by the run's key, and how it is checked."""

import json
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from raymu.core.events import GenerationPublished, RevocationsAccepted
from raymu.core.verdict import Verdict
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RequestInvalid
from raymu.input_file import read_input
from raymu.service.audit.report import AuditReport
from raymu.service.audit.snapshot_report import SnapshotReport
from raymu.store.codec import canonical_json, from_json, parse_json, to_tree
from raymu.store.run import RunStore
from raymu.store.signed_document import SIGNATURE, is_signed_by, signed
from raymu.text import one_line

SCHEMA, SNAPSHOTS_SCHEMA, VERSION = "raymu.audit", "raymu.two_snapshots", 1

AuditKind = Literal["audit", "audit with two snapshots"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditDocument:
    """A document that was checked: it is an audit of this run, as it was written."""

    tree: dict[str, Any]
    generation: int
    """Number of the audited generation."""
    served: int
    """Number of the generation that the run serves now."""
    verdict: Verdict | None
    """None of an audit with two snapshots, which is a measurement."""
    is_signed: bool
    """Whether the run's key signed it. Without a signature anyone can have written it."""

    def __str__(self) -> str:
        """Say in one line what it is an audit of, and what vouches for it."""
        now = "" if self.generation == self.served else f"; the run serves {self.served}"
        signature = "signed by the run's key" if self.is_signed else "not signed, so that anyone can have written it"
        return f"{self.kind} of generation {self.generation}{now}; {signature}"

    @property
    def kind(self) -> AuditKind:
        """What it is, in words."""
        return "audit with two snapshots" if self.verdict is None else "audit"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Together:
    request_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stated:
    """The facts that every audit has, whatever it measured."""

    generation: int
    verdict: Verdict
    together: _Together


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """The facts that every audit with two snapshots has."""

    generation: int
    rows: tuple[dict[str, Any], ...]


def audit_document(store: RunStore, report: AuditReport | SnapshotReport) -> dict[str, Any]:
    """Return the document of an audit, signed if the signing key can be read.

    Raises:
        FileCorrupt: The signing key is not the one that the run's receipts are signed with.
        RaymuError: What reading the journal raises.
    """
    manifests, _, _ = _recorded(store)
    try:
        store.require_bound_key()
        signing_key, public_key = store.keys.signing_key, store.keys.public_key.hex()
    except (FileMissing, FileUnreadable):  # an auditor may have a copy without the key, or may not read it
        signing_key, public_key = None, None
    facts = {
        "schema": SCHEMA if isinstance(report, AuditReport) else SNAPSHOTS_SCHEMA,
        "version": VERSION,
        "run": store.manifest.run_id,
        "manifest_sha256": manifests[report.generation],
        "audited_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "raymu_version": version("raymu"),
        "public_key": public_key,
    }
    # As it is read again: JSON has neither infinities nor NaN.
    tree = json.loads(json.dumps({**facts, **to_tree(report)}), parse_constant=lambda _name: None)
    return signed(tree, signing_key) if signing_key else {**tree, SIGNATURE: None}


def read_audit(store: RunStore, path: Path) -> AuditDocument:
    """Read the document of an audit, and check it against the run.

    Raises:
        RequestInvalid: It cannot be read, is no audit, is one of another run, or was changed since it was written.
        FileCorrupt: It is signed, and the public key of the run is not the one that its manifest names.
        RaymuError: What reading the journal raises.
    """
    return check_audit(store, _read(path), source=str(path))


def check_audit(store: RunStore, tree: dict[str, Any], *, source: str) -> AuditDocument:
    """Check the document of an audit against the run. source: what messages call it. Raises as `read_audit`."""
    path = source
    if tree.get("schema") not in (SCHEMA, SNAPSHOTS_SCHEMA):
        raise RequestInvalid(
            f"{path}: is not an audit that says of which run it is, as those of raymu 0.1 do not; "
            "give what `raymu audit RUN --json` prints"
        )
    if tree.get("version") != VERSION:
        raise RequestInvalid(
            f"{path}: was written by a newer raymu (version {one_line(tree.get('version'))}); update raymu"
        )
    if tree.get("run") != store.manifest.run_id:
        raise RequestInvalid(
            f"{path}: is an audit of run {one_line(tree.get('run'))}, and this is run {store.manifest.run_id}; "
            "run `raymu audit` on this one"
        )
    is_signed = tree.get(SIGNATURE) is not None
    if is_signed and not _is_signed(store, tree):
        raise RequestInvalid(f"{path}: was changed, or signed by another key than the run's; run `raymu audit` again")
    is_measured = tree["schema"] == SNAPSHOTS_SCHEMA
    try:
        report: _Stated | _Measured = from_json(
            _Measured if is_measured else _Stated, canonical_json(tree), source=path
        )
    except FileCorrupt as error:
        raise RequestInvalid(f"{path}: is {one_line(error.problem)}; run `raymu audit` again") from error
    manifests, requests, served = _recorded(store)
    unknown = sorted({*report.together.request_ids} - requests) if isinstance(report, _Stated) else []
    if unknown or tree.get("manifest_sha256") != manifests.get(report.generation):
        raise RequestInvalid(
            f"{path}: is an audit of a state that the run never had (generation {report.generation}); it belongs to "
            "another copy of the run, or the run was rolled back: see `raymu verify`"
        )
    return AuditDocument(
        tree=tree,
        generation=report.generation,
        served=served,
        verdict=report.verdict if isinstance(report, _Stated) else None,
        is_signed=is_signed,
    )


def _is_signed(store: RunStore, tree: dict[str, Any]) -> bool:
    store.require_bound_key()
    public_key = store.keys.public_key
    return tree.get("public_key") == public_key.hex() and is_signed_by(tree, public_key)


def _recorded(store: RunStore) -> tuple[dict[int, str], frozenset[str], int]:
    """Return the hash of each generation's file, the ids of all requests, and the number of the last generation."""
    with closing(store.journal(is_read_only=True)) as journal:
        events = list(journal.events())
    manifests = {event.number: event.manifest_sha256 for event in events if isinstance(event, GenerationPublished)}
    accepted = [event for event in events if isinstance(event, RevocationsAccepted)]
    requests = frozenset(request.request_id for event in accepted for request in event.requests)
    return manifests, requests, max(manifests, default=0)


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises RequestInvalid."""
    try:
        payload = read_input(path)
        parse_json(payload, source=str(path))  # which has limits
        tree = json.loads(payload, parse_constant=lambda _name: None)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        problem = getattr(error, "strerror", None) or one_line(error)
        raise RequestInvalid(f"{path}: cannot be read ({problem}); give the JSON of an audit") from error
    except FileCorrupt as error:
        raise RequestInvalid(f"{path}: is not JSON ({error.problem}); give the JSON of an audit") from error
    if not isinstance(tree, dict):
        raise RequestInvalid(f"{path}: is not an audit; give what `raymu audit RUN --json` prints")
    return tree
