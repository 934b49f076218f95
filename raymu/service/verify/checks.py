"""The checks of a run's stored state, one row each: the number of objects, and the findings about them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from raymu.core.findings import FindingKind
from raymu.core.records import FileRef, ShardLineage
from raymu.core.verdict import Finding, fails, finding_of, leaves_open
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable
from raymu.service.pseudonyms import pseudonym_mismatches
from raymu.service.shard.reports import PartialReport, report_kind
from raymu.service.verify.derived import index_findings, snapshot_findings
from raymu.service.verify.descent import descent_findings
from raymu.service.verify.evidence import Evidence
from raymu.service.verify.leftovers import leftover_findings, needed_files, unless_unfinished
from raymu.store.files.concurrency import map_concurrently
from raymu.store.journal.file_seal import matches_seal
from raymu.store.receipts import check_receipts

Findings = Iterator[Finding]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRow:
    """One kind of check."""

    count: Callable[[Evidence], int]
    """Return the number of objects to show. `files` also reads workers' reports, which it does not count."""
    find: Callable[[Evidence], Findings]
    """Yield a finding for each problem. Raises RaymuError if the check cannot continue."""
    damage: FindingKind
    """What an error about the content of a file then means."""


def _journal(evidence: Evidence) -> Findings:
    """Check the term, the pseudonyms and the file. Reading the events has checked their seals and their chain."""
    store, recorded, expected = evidence.store, evidence.recorded, evidence.expected
    file_term = store.fencing.term()
    terms = f"the files have term {file_term}, the journal has term {recorded.term}"
    if file_term == recorded.term + 1:  # a takeover writes the file first
        yield leaves_open(FindingKind.TAKEOVER, terms)
    elif file_term != recorded.term:
        yield fails(FindingKind.JOURNAL, terms)
    for difference in recorded.schema_differences:
        yield fails(FindingKind.JOURNAL, f"the journal has {difference}")
    for mismatch in pseudonym_mismatches(recorded.kept, recorded.revoked, expected.accepted, purged=expected.purged):
        yield fails(FindingKind.JOURNAL, mismatch)
    yield from index_findings(recorded)
    yield from snapshot_findings(store, recorded)
    if store.config.cluster.journal is None:
        is_sealed = matches_seal(store.files, store.keys, term=recorded.term, sequence=recorded.head.sequence)
        if is_sealed is None and recorded.term != evidence.own_term:
            yield leaves_open(FindingKind.OPEN_JOURNAL, "the journal was not closed")
        elif is_sealed is False:
            yield fails(FindingKind.JOURNAL, "the journal file is not the one that its coordinator closed")


def _receipts(evidence: Evidence) -> Findings:
    store, recorded, expected = evidence.store, evidence.recorded, evidence.expected
    _ = store.keys.signing_key  # raises if it does not belong to the public key
    store.require_bound_key()
    issued = check_receipts(recorded.receipt_rows, run=store.manifest.run_id, public_key=store.keys.public_key)
    pairs = zip_longest(issued, expected.receipts)
    if not all(actual and due and actual[0] == due[0] and due[1].is_as_issued(actual[1]) for actual, due in pairs):
        yield fails(FindingKind.RECEIPTS, "the issued receipts differ from those that follow from the journal")


def _generation(evidence: Evidence) -> Findings:
    store, expected = evidence.store, evidence.expected
    if expected.published is None:
        yield leaves_open(FindingKind.UNTRAINED, "the run is not trained yet")
        return
    if evidence.generation is None and store.generations.is_behind(expected.published.number):
        yield fails(FindingKind.OLD_FILES, f"the files are an old copy, without generation {expected.published.number}")
        return
    generation = evidence.generation or store.generations.read(expected.published)  # raises if it is missing or changed
    command = expected.publication
    if command is None or (generation.constituents, generation.lineages) != (command.constituents, command.lineages):
        problem = f"generation {generation.number} differs from the one that follows from the journal"
        yield fails(FindingKind.FORGED_GENERATION, problem)
    hashes = ["", *(event.manifest_sha256 for event in expected.generations)]
    if generation.previous_sha256 != hashes[-2]:
        problem = f"generation {generation.number} is not chained to the one before it"
        yield fails(FindingKind.FORGED_GENERATION, problem)
    for number in store.generations.numbers:
        if number not in expected.published.numbers:
            with suppress(FileMissing):  # destroyed since it was listed
                yield _other_generation(evidence, number)


def _other_generation(evidence: Evidence, number: int) -> Finding:
    """Judge the file of a generation that is not the served one.

    During a repair the file of the previous generation can exist, and that of the next one before its commit.
    """
    store, published = evidence.store, {event.number: event for event in evidence.expected.generations}
    if number not in published:
        problem = f"generation {number} was never committed, but its file exists"
        return unless_unfinished(evidence, FindingKind.OTHER_GENERATION, problem)
    try:
        store.generations.check(published[number])
    except FileCorrupt as error:
        return finding_of(error, FindingKind.OTHER_GENERATION)
    problem = f"generation {number} is superseded, but its file exists"
    return unless_unfinished(evidence, FindingKind.OTHER_GENERATION, problem)


def _files(evidence: Evidence) -> Findings:
    reports = evidence.store.reports
    for command_id in reports.finished:
        try:
            reports.check(report_kind(command_id), command_id)
        except (FileCorrupt, FileUnreadable) as error:
            yield finding_of(error, FindingKind.REPORT)
    for command_id in reports.partial:
        try:
            reports.find_partial(PartialReport, command_id)
        except (FileCorrupt, FileUnreadable) as error:
            yield finding_of(error, FindingKind.REPORT)
    needed = sorted(needed_files(evidence), key=lambda ref: ref.path)
    yield from filter(None, map_concurrently(partial(_damage, evidence, _files_being_restored(evidence)), needed))


def _damage(evidence: Evidence, being_restored: set[FileRef], ref: FileRef) -> Finding | None:
    """Return what is wrong with one file, so that an unreadable file does not hide the damage of another."""
    try:
        evidence.store.files.read_checked(ref)
    except (FileMissing, FileCorrupt) as error:
        if ref == evidence.store.manifest.base:
            return finding_of(error, FindingKind.BASE_WEIGHTS)
        if ref in being_restored:
            return leaves_open(FindingKind.UNFINISHED, f"{error.path} is being restored")
        return finding_of(error, FindingKind.FILE if evidence.expected.published else FindingKind.UNTRAINED_FILE)
    except FileUnreadable as error:
        return finding_of(error, FindingKind.FILE)
    return None


def _files_being_restored(evidence: Evidence) -> set[FileRef]:
    """Return the files that the journal records as lost, and that a rebuild trains again."""
    lost = evidence.expected.board.lost_stages
    lineages = [*evidence.expected.board.lineages, *(evidence.generation.lineages if evidence.generation else ())]
    return {
        file
        for lineage in lineages
        if lineage.shard in lost
        for file in lineage.files - _files_before(lineage, lost[lineage.shard])
    }


def _files_before(lineage: ShardLineage, stage: int) -> set[FileRef]:
    checkpoints = {checkpoint.file for checkpoint in lineage.checkpoints[:stage] if checkpoint}
    return {*lineage.sample_files.files, *checkpoints, *filter(None, lineage.updates[:stage])}


def _lineage(evidence: Evidence) -> Findings:
    if evidence.generation:
        yield from descent_findings(evidence.store, evidence.generation, evidence.expected)


def _shards(evidence: Evidence) -> int:
    return len(evidence.generation.lineages) if evidence.generation else 0


CHECKS: Mapping[str, CheckRow] = {
    "journal": CheckRow(
        count=lambda evidence: len(evidence.recorded.events), find=_journal, damage=FindingKind.JOURNAL
    ),
    "receipts": CheckRow(
        count=lambda evidence: len(evidence.recorded.receipt_rows), find=_receipts, damage=FindingKind.RECEIPTS
    ),
    "generation": CheckRow(count=_shards, find=_generation, damage=FindingKind.GENERATION),
    "files": CheckRow(count=lambda evidence: len(needed_files(evidence)), find=_files, damage=FindingKind.FILE),
    "lineage": CheckRow(count=_shards, find=_lineage, damage=FindingKind.FILE),
    "purge": CheckRow(
        count=lambda evidence: len(evidence.store.files.walk()), find=leftover_findings, damage=FindingKind.FILE
    ),
}
"""The checks, in the order in which they run. `verify` adds those of the anchor and of the replay if they are requested."""
