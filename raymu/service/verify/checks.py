"""The checks of a verification. Each takes the evidence and yields what speaks against it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from raymu.core.records import FileRef
from raymu.core.verdict import Finding, fails, finding_of, leaves_open
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable
from raymu.service.pseudonyms import pseudonym_mismatches
from raymu.service.shard.stages import PartialReport
from raymu.service.verify.descent import descent_findings
from raymu.service.verify.evidence import Evidence
from raymu.service.verify.leftovers import find_report, leftovers, needed_files, while_at_work
from raymu.store.files.concurrency import map_concurrently
from raymu.store.journal.file_seal import matches_seal
from raymu.store.receipts import check_receipts
from raymu.store.run import RunStore

Findings = Iterator[Finding]


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedCheck:
    """count: of the objects that it looks at"""

    count: Callable[[Evidence], int]
    find: Callable[[Evidence], Findings]


def _journal(evidence: Evidence) -> Findings:
    """The events are sealed and chained (reading them has checked that); the rest of the database follows from them."""
    store, recorded, expected = evidence.store, evidence.recorded, evidence.expected
    terms = f"the files are of term {store.fencing.term()}, the journal of term {recorded.term}"
    if store.fencing.term() == recorded.term + 1:  # the files are told first
        yield leaves_open(f"{terms}: a coordinator takes the run over, or broke off; `raymu settle` does it again")
    elif store.fencing.term() != recorded.term:
        yield fails(terms)
    for what in pseudonym_mismatches(recorded.kept, recorded.revoked, expected.accepted, purged=expected.purged):
        yield fails(what)
    if store.config.cluster.journal is None:
        sealed = matches_seal(store.files, store.keys, term=recorded.term, sequence=recorded.head.sequence)
        if sealed is None:
            yield leaves_open(
                "a coordinator has the journal open, or broke off: `raymu down` it, or `raymu settle` where none is up"
            )
        elif not sealed:
            yield fails("the journal's file is not the one that its coordinator closed")


def _receipts(evidence: Evidence) -> Findings:
    store, recorded, expected = evidence.store, evidence.recorded, evidence.expected
    _ = store.keys.signing_key  # raises where it is not that of the public key
    issued = tuple(check_receipts(recorded.receipt_rows, run=store.manifest.run_id, public_key=store.keys.public_key))
    if issued != expected.receipts:
        yield fails("the issued receipts are not those that follow from the journal")


def _generation(evidence: Evidence) -> Findings:
    store, expected = evidence.store, evidence.expected
    if expected.published is None:
        yield leaves_open("the run is not trained: `raymu settle` finishes its training")
        return
    generation = evidence.generation or store.generations.read(expected.published)  # raises what is wrong with it
    command = expected.publication
    if command is None or (generation.constituents, generation.lineages) != (command.constituents, command.lineages):
        yield fails(f"generation {generation.number} is not the one that follows from the journal")
    *_, previous_sha256, _ = ("", *(event.manifest_sha256 for event in expected.generations))
    if generation.previous_sha256 != previous_sha256:
        yield fails(f"generation {generation.number} is not chained to the one before it")
    for number in store.generations.numbers:
        if number != generation.number:
            with suppress(FileMissing):  # destroyed since it was listed
                yield _other_generation(evidence, number)


def _other_generation(evidence: Evidence, number: int) -> Finding:
    """In the middle of a repair the one before may be there, and the next one while it is not committed."""
    store, numbers = evidence.store, {event.number: event for event in evidence.expected.generations}
    if number not in numbers:
        return while_at_work(evidence, f"generation {number} was never committed, and is there")
    try:
        store.generations.read(numbers[number])
    except FileCorrupt as error:
        return fails(str(error))
    return while_at_work(evidence, f"generation {number} is superseded, and is there")


def _files(evidence: Evidence) -> Findings:
    for command_id in evidence.store.reports.finished:
        try:
            find_report(evidence.store, command_id)
        except (FileCorrupt, FileUnreadable) as error:
            yield finding_of(error)
    for command_id in evidence.store.reports.partial:
        try:
            evidence.store.reports.find_partial(PartialReport, command_id)
        except (FileCorrupt, FileUnreadable) as error:
            yield finding_of(error)
    needed = sorted(needed_files(evidence), key=lambda ref: ref.path)
    yield from filter(None, map_concurrently(partial(_problem, evidence.store), needed))


def _problem(store: RunStore, ref: FileRef) -> Finding | None:
    """What is wrong with a file; one that cannot be read hides no other's damage."""
    try:
        store.files.read_checked(ref)
    except (FileMissing, FileCorrupt, FileUnreadable) as error:
        return finding_of(error)
    return None


def _lineage(evidence: Evidence) -> Findings:
    if evidence.generation:
        yield from descent_findings(evidence.store, evidence.generation, evidence.expected)


CHECKS: Mapping[str, NamedCheck] = {
    "journal": NamedCheck(count=lambda it: len(it.recorded.events), find=_journal),
    "receipts": NamedCheck(count=lambda it: len(it.recorded.receipt_rows), find=_receipts),
    "generation": NamedCheck(
        count=lambda it: len(it.generation.constituents) if it.generation else 0, find=_generation
    ),
    "files": NamedCheck(count=lambda it: len(needed_files(it)), find=_files),
    "lineage": NamedCheck(count=lambda it: len(it.generation.lineages) if it.generation else 0, find=_lineage),
    "purge": NamedCheck(count=lambda it: len(it.store.files.walk()), find=leftovers),
}
"""What is checked, in this order; one row each."""
