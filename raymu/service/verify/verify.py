"""Verification of a run, by its files and its journal alone. It writes nothing."""

from collections.abc import Collection
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from raymu.core.records import Generation
from raymu.core.verdict import Check, Finding, Verdict, fails, finding_of, leaves_open, worst
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RaymuError, RequestInvalid
from raymu.service.shard.messages import Progress
from raymu.service.verify.checks import CHECKS, NamedCheck
from raymu.service.verify.evidence import Evidence, Expected, Recorded
from raymu.service.verify.replay import replay_findings
from raymu.store.journal.event_chain import ChainHead
from raymu.store.run import RunStore

_AT_MOST = 3
"""How often a run is looked at that is written meanwhile: what is read first, and what is read last, may not agree."""
_WRITTEN_MEANWHILE = leaves_open("the run was written meanwhile: verify it again while no request is at work")
_ANCHOR = "anchor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """generation: the served one; anchor: the journal's last event, to be kept elsewhere and given to the next one"""

    verdict: Verdict
    generation: int | None
    anchor: str | None
    checks: tuple[Check, ...]


def verify(
    store: RunStore, progress: Progress, *, replay: Collection[int] = (), anchor: str | None = None
) -> Verification:
    """Check a run. replay: shards to train again from scratch; anchor: of an earlier verification

    Raises RunInvalid where this is no run of this version, RequestInvalid.
    """
    try:
        _ = store.manifest
    except (FileMissing, FileCorrupt, FileUnreadable) as error:
        return _ended("run", finding_of(error))
    for _attempt in range(_AT_MOST):
        before = _journal_at(store)
        found = _verified(store, progress, replay=replay, anchor=anchor)
        if found.verdict is not Verdict.FAIL or _journal_at(store) == before:
            return found
    return _left_open(found)


def _journal_at(store: RunStore) -> tuple[int, ChainHead] | None:
    """Its term and its last event: where they are others later, the run was written. None where they cannot be read."""
    with suppress(RaymuError), closing(store.journal(is_read_only=True)) as journal:
        return journal.term(), journal.head()
    return None


def _left_open(found: Verification) -> Verification:
    """What fails may be sound, but for the anchor: no write takes an event out of the journal."""
    checks = tuple(
        check
        if check.name == _ANCHOR or check.verdict is not Verdict.FAIL
        else replace(check, findings=(_WRITTEN_MEANWHILE, *(leaves_open(one.what) for one in check.findings)))
        for check in found.checks
    )
    return replace(found, verdict=worst(check.verdict for check in checks), checks=checks)


def _verified(store: RunStore, progress: Progress, *, replay: Collection[int], anchor: str | None) -> Verification:
    try:
        recorded = Recorded.read(store)
        expected = Expected.of(store, recorded.events)
    except RaymuError as error:  # without a sound journal there is nothing to hold the rest against
        return _ended("journal", finding_of(error))
    evidence = Evidence(store=store, recorded=recorded, expected=expected, generation=_served(store, expected))
    checks = [_checked(name, check, evidence) for name, check in CHECKS.items()]
    if anchor is not None:
        checks.append(_anchored(anchor, recorded))
    if replay and evidence.generation:
        checks.append(_replayed(store, evidence.generation, replay, progress))
    return Verification(
        verdict=worst(check.verdict for check in checks),
        generation=evidence.generation.number if evidence.generation else None,
        anchor=f"{recorded.head.sequence}:{recorded.head.seal}",
        checks=tuple(checks),
    )


def _ended(name: str, finding: Finding) -> Verification:
    """By what keeps everything else from being checked."""
    check = Check(name=name, checked=0, findings=(finding,))
    return Verification(verdict=check.verdict, generation=None, anchor=None, checks=(check,))


def _served(store: RunStore, expected: Expected) -> Generation | None:
    try:
        return store.generations.read(expected.published) if expected.published else None
    except (FileMissing, FileCorrupt, FileUnreadable):  # the check of the generation says what is wrong
        return None


def _checked(name: str, check: NamedCheck, evidence: Evidence) -> Check:
    checked, findings = 0, list[Finding]()
    try:
        checked = check.count(evidence)
        for finding in check.find(evidence):
            findings.append(finding)
    except RaymuError as error:
        findings.append(finding_of(error))
    return Check(name=name, checked=checked, findings=tuple(findings))


def _replayed(store: RunStore, generation: Generation, shards: Collection[int], progress: Progress) -> Check:
    unknown = set(shards) - {lineage.shard for lineage in generation.lineages}
    if unknown:
        raise RequestInvalid(f"the run has no shard {min(unknown)}; it has {len(generation.lineages)}, from 0")
    try:
        findings = tuple(replay_findings(store, generation, shards, progress))
    except (FileMissing, FileCorrupt, FileUnreadable) as error:
        findings = (finding_of(error),)
    return Check(name="replay", checked=len(shards), findings=findings)


def _anchored(anchor: str, recorded: Recorded) -> Check:
    """Whether the journal still holds the event that an earlier verification ended with: else both were rolled back."""
    sequence, _, seal = anchor.partition(":")
    if not (sequence.isdigit() and seal):
        raise RequestInvalid(f"{anchor!r} is no anchor; give the one that an earlier `raymu verify` printed")
    is_held = ChainHead(sequence=int(sequence), seal=seal) in recorded.heads
    findings = () if is_held else (fails(f"the journal lacks event {sequence}, which was there: it was rolled back"),)
    return Check(name=_ANCHOR, checked=1, findings=findings)
