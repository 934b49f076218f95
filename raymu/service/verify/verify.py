"""Verification of a run from its files and its journal alone. It writes nothing."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from raymu.core.findings import FindingKind
from raymu.core.records import Generation
from raymu.core.trust import CODE
from raymu.core.verdict import Check, Finding, Verdict, fails, finding_of, leaves_open, worst
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RaymuError, RequestInvalid
from raymu.service.shard.messages import Progress
from raymu.service.verify.checks import CHECKS, CheckRow
from raymu.service.verify.evidence import Evidence, Expected, Recorded
from raymu.service.verify.replay import replay_findings
from raymu.shown_record import ShownRecord
from raymu.store.anchors import MissingEvent, older_copy
from raymu.store.journal.event_chain import ChainHead
from raymu.store.run import RunStore

MAX_ATTEMPTS = 3
"""Attempts while a run is written during its verification, because files that are read early and late may disagree."""
_WRITTEN_MEANWHILE = leaves_open(FindingKind.WRITTEN_MEANWHILE, "the run was written meanwhile")
_ANCHOR = "anchor"


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Verification(ShownRecord):
    """The result of a verification."""

    verdict: Verdict
    generation: int | None
    """Number of the served generation; None if it cannot be read."""
    anchor: str | None
    """The last event of the journal. If the user keeps it elsewhere, a later verification uses it to detect a rollback."""
    checks: tuple[Check, ...]

    @property
    def _facts(self) -> dict[str, object]:
        return {
            "verdict": self.verdict,
            "served generation": self.generation,
            **{f"check of {check.name}": check.verdict for check in self.checks},
        }


def verify(
    store: RunStore,
    progress: Progress,
    *,
    replay: Collection[int] = (),
    anchor: str | None = None,
    missing: MissingEvent | None = None,
    own_term: int | None = None,
) -> Verification:
    """Verify a run.

    Args:
        store: The run.
        progress: Called after every replayed stage.
        replay: Shards to train again from scratch.
        anchor: The anchor of an earlier verification.
        missing: What the run lacks of what its user saw; None if nothing, or if nothing is kept.
        own_term: The term of a coordinator that the caller has open: it is no reason to leave the journal's check open.

    Raises:
        RunInvalid: There is no run of this version.
        RequestInvalid: The anchor is malformed, or a shard does not exist.
        RunUntrusted: A replay would run code of the run that is not trusted. All other checks run none.
    """
    try:
        _ = store.manifest
    except (FileMissing, FileCorrupt, FileUnreadable) as error:
        return _ended_early("run", finding_of(error, FindingKind.MANIFEST))
    if replay:
        store.require_trusted(*CODE)
    for _attempt in range(MAX_ATTEMPTS):
        before = _journal_position(store)
        verification = _attempt_verification(
            store, progress, replay=replay, anchor=anchor, missing=missing, own_term=own_term
        )
        if verification.verdict is not Verdict.FAIL or _journal_position(store) == before:
            return verification
    return _failures_left_open(verification)


def _journal_position(store: RunStore) -> tuple[int, ChainHead] | None:
    """Return the term and the last event, which change with every write; None if they cannot be read."""
    with suppress(RaymuError):
        return store.position()
    return None


def _failures_left_open(verification: Verification) -> Verification:
    """Return the verification with failures left open, except the anchor's: no write removes an event."""
    checks = tuple(
        check
        if check.name == _ANCHOR or check.verdict is not Verdict.FAIL
        else replace(check, findings=(_WRITTEN_MEANWHILE, *map(_left_open, check.findings)))
        for check in verification.checks
    )
    return replace(verification, verdict=worst(check.verdict for check in checks), checks=checks)


def _left_open(finding: Finding) -> Finding:
    return replace(finding, verdict=Verdict.INCONCLUSIVE)


def _attempt_verification(
    store: RunStore,
    progress: Progress,
    *,
    replay: Collection[int],
    anchor: str | None,
    missing: MissingEvent | None,
    own_term: int | None,
) -> Verification:
    try:
        recorded = Recorded.read(store)
        expected = Expected.of(store, recorded.events)
    except RaymuError as error:  # without a sound journal there is nothing to compare the rest with
        return _ended_early("journal", finding_of(error, FindingKind.JOURNAL))
    evidence = Evidence(
        store=store,
        recorded=recorded,
        expected=expected,
        generation=_served_generation(store, expected),
        own_term=own_term,
    )
    checks = [_run_check(name, row, evidence) for name, row in CHECKS.items()]
    if anchor is not None or missing is not None:
        checks.append(_check_anchor(anchor, missing, recorded))
    if replay and evidence.generation:
        checks.append(_check_replay(store, evidence.generation, replay, progress))
    return Verification(
        verdict=worst(check.verdict for check in checks),
        generation=evidence.generation.number if evidence.generation else None,
        anchor=f"{recorded.head.sequence}:{recorded.head.seal}",
        checks=tuple(checks),
    )


def _ended_early(name: str, finding: Finding) -> Verification:
    """Return a verification that ended early because of one fatal finding."""
    check = Check(name=name, checked=0, findings=(finding,))
    return Verification(verdict=check.verdict, generation=None, anchor=None, checks=(check,))


def _served_generation(store: RunStore, expected: Expected) -> Generation | None:
    try:
        return store.generations.read(expected.published) if expected.published else None
    except (FileMissing, FileCorrupt, FileUnreadable):  # the check of the generation reports it
        return None


def _run_check(name: str, row: CheckRow, evidence: Evidence) -> Check:
    checked, findings = 0, list[Finding]()
    try:
        checked = row.count(evidence)
        for finding in row.find(evidence):
            findings.append(finding)
    except RaymuError as error:
        findings.append(finding_of(error, row.damage))
    return Check(name=name, checked=checked, findings=tuple(findings))


def _check_replay(store: RunStore, generation: Generation, shards: Collection[int], progress: Progress) -> Check:
    unknown = set(shards) - {lineage.shard for lineage in generation.lineages}
    if unknown:
        raise RequestInvalid(f"the run has no shard {min(unknown)}; it has {len(generation.lineages)}, from 0")
    try:
        findings = tuple(replay_findings(store, generation, shards, progress))
    except (FileMissing, FileCorrupt, FileUnreadable) as error:
        findings = (finding_of(error, FindingKind.FILE),)
    return Check(name="replay", checked=len(shards), findings=findings)


def _check_anchor(anchor: str | None, missing: MissingEvent | None, recorded: Recorded) -> Check:
    """Check that the journal still contains the events of earlier anchors; otherwise the run was rolled back."""
    findings: list[Finding] = []
    if anchor is not None:
        try:
            head = ChainHead.parse(anchor)
        except ValueError as error:
            raise RequestInvalid(f"{error}; give the one that an earlier `raymu verify` printed") from error
        if head not in recorded.heads:
            problem = f"the journal lacks event {head.sequence}, which it had before: it was rolled back"
            findings.append(fails(FindingKind.ROLLED_BACK, problem))
    if missing is not None and missing.is_here:
        problem = f"the journal lacks event {missing.sequence}, which it had when it was used here: it was rolled back"
        findings.append(fails(FindingKind.ROLLED_BACK, problem))
    elif missing is not None:
        findings.append(leaves_open(FindingKind.OLDER_COPY, f"the run is {older_copy(missing)}"))
    return Check(name=_ANCHOR, checked=(anchor is not None) + (missing is not None), findings=tuple(findings))
