"""Verification of a run from its files and its journal alone. It writes nothing."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from raymu.core.records import Generation
from raymu.core.trust import CODE
from raymu.core.verdict import Check, Finding, Verdict, fails, finding_of, leaves_open, worst
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RaymuError, RequestInvalid
from raymu.service.shard.messages import Progress
from raymu.service.verify.checks import CHECKS, CheckRow
from raymu.service.verify.evidence import Evidence, Expected, Recorded
from raymu.service.verify.replay import replay_findings
from raymu.store.journal.event_chain import ChainHead
from raymu.store.run import RunStore

MAX_ATTEMPTS = 3
"""Attempts while a run is written during its verification, because files that are read early and late may disagree."""
_WRITTEN_MEANWHILE = leaves_open("the run was written meanwhile: verify it again while no repair is running")
_ANCHOR = "anchor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The result of a verification."""

    verdict: Verdict
    generation: int | None
    """Number of the served generation; None if it cannot be read."""
    anchor: str | None
    """The last event of the journal. If the user keeps it elsewhere, a later verification uses it to detect a rollback."""
    checks: tuple[Check, ...]


def verify(
    store: RunStore, progress: Progress, *, replay: Collection[int] = (), anchor: str | None = None
) -> Verification:
    """Verify a run.

    Args:
        store: The run.
        progress: Called after every replayed stage.
        replay: Shards to train again from scratch.
        anchor: The anchor of an earlier verification.

    Raises:
        RunInvalid: There is no run of this version.
        RequestInvalid: The anchor is malformed, or a shard does not exist.
        RunUntrusted: A replay would run code of the run that is not trusted. All other checks run none.
    """
    try:
        _ = store.manifest
    except (FileMissing, FileCorrupt, FileUnreadable) as error:
        return _ended_early("run", finding_of(error))
    if replay:
        store.require_trusted(*CODE)
    for _attempt in range(MAX_ATTEMPTS):
        before = _journal_position(store)
        verification = _attempt_verification(store, progress, replay=replay, anchor=anchor)
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
        else replace(check, findings=(_WRITTEN_MEANWHILE, *(leaves_open(finding.what) for finding in check.findings)))
        for check in verification.checks
    )
    return replace(verification, verdict=worst(check.verdict for check in checks), checks=checks)


def _attempt_verification(
    store: RunStore, progress: Progress, *, replay: Collection[int], anchor: str | None
) -> Verification:
    try:
        recorded = Recorded.read(store)
        expected = Expected.of(store, recorded.events)
    except RaymuError as error:  # without a sound journal there is nothing to compare the rest with
        return _ended_early("journal", finding_of(error))
    evidence = Evidence(
        store=store, recorded=recorded, expected=expected, generation=_served_generation(store, expected)
    )
    checks = [_run_check(name, row, evidence) for name, row in CHECKS.items()]
    if anchor is not None:
        checks.append(_check_anchor(anchor, recorded))
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
        findings.append(finding_of(error))
    return Check(name=name, checked=checked, findings=tuple(findings))


def _check_replay(store: RunStore, generation: Generation, shards: Collection[int], progress: Progress) -> Check:
    unknown = set(shards) - {lineage.shard for lineage in generation.lineages}
    if unknown:
        raise RequestInvalid(f"the run has no shard {min(unknown)}; it has {len(generation.lineages)}, from 0")
    try:
        findings = tuple(replay_findings(store, generation, shards, progress))
    except (FileMissing, FileCorrupt, FileUnreadable) as error:
        findings = (finding_of(error),)
    return Check(name="replay", checked=len(shards), findings=findings)


def _check_anchor(anchor: str, recorded: Recorded) -> Check:
    """Check that the journal still contains the last event of an earlier verification; otherwise the run was rolled back."""
    sequence, _, seal = anchor.partition(":")
    if not (sequence.isdigit() and seal):
        raise RequestInvalid(f"{anchor!r} is not an anchor; give the one that an earlier `raymu verify` printed")
    has_event = ChainHead(sequence=int(sequence), seal=seal) in recorded.heads
    findings = (
        () if has_event else (fails(f"the journal lacks event {sequence}, which it had before: it was rolled back"),)
    )
    return Check(name=_ANCHOR, checked=1, findings=findings)
