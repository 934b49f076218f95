"""Verification of a run, by its files and its journal alone. It writes nothing."""

from collections.abc import Collection
from dataclasses import dataclass

from raymu.core.records import Generation
from raymu.core.verdict import Check, Finding, Verdict, fails, leaves_open, worst
from raymu.errors import FileCorrupt, FileMissing, RaymuError, RequestInvalid, RunTooNew
from raymu.service.verify.checks import CHECKS, NamedCheck
from raymu.service.verify.evidence import Evidence, Expected, Recorded
from raymu.service.verify.replaying import replay_findings
from raymu.service.work import Progress
from raymu.store.chain import Head
from raymu.store.run import RunStore


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
    except (FileMissing, FileCorrupt) as error:
        return _ended("run", fails(str(error)))
    try:
        recorded = Recorded.read(store)
        expected = Expected.of(store, recorded.events)
    except RunTooNew as error:
        return _ended("journal", leaves_open(str(error)))
    except RaymuError as error:  # without a sound journal there is nothing to hold the rest against
        return _ended("journal", fails(str(error)))
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
    except (FileMissing, FileCorrupt):  # the check of the generation says what is wrong
        return None


def _checked(name: str, check: NamedCheck, evidence: Evidence) -> Check:
    try:
        findings = tuple(check.find(evidence))
    except RaymuError as error:
        findings = (fails(str(error)),)
    return Check(name=name, checked=check.count(evidence), findings=findings)


def _replayed(store: RunStore, generation: Generation, shards: Collection[int], progress: Progress) -> Check:
    unknown = set(shards) - {lineage.shard for lineage in generation.lineages}
    if unknown:
        raise RequestInvalid(f"the run has no shard {min(unknown)}; it has {len(generation.lineages)}, from 0")
    try:
        findings = tuple(replay_findings(store, generation, shards, progress))
    except (FileMissing, FileCorrupt) as error:
        findings = (fails(str(error)),)
    return Check(name="replay", checked=len(shards), findings=findings)


def _anchored(anchor: str, recorded: Recorded) -> Check:
    """Whether the journal still holds the event that an earlier verification ended with: else both were rolled back."""
    sequence, _, seal = anchor.partition(":")
    if not (sequence.isdigit() and seal):
        raise RequestInvalid(f"{anchor!r} is no anchor; give the one that an earlier `raymu verify` printed")
    is_held = Head(sequence=int(sequence), seal=seal) in recorded.heads
    findings = () if is_held else (fails(f"the journal lacks event {sequence}, which was there: it was rolled back"),)
    return Check(name="anchor", checked=1, findings=findings)
