"""The checks of a verification. Each takes the evidence and yields what speaks against it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from raymu.core.records import FileRef, Generation
from raymu.core.verdict import Finding, Verdict
from raymu.errors import FileCorrupt, FileMissing
from raymu.service.verify.evidence import Expected, Recorded
from raymu.service.verify.lineage import descent_findings
from raymu.store.at_rest import is_at_rest
from raymu.store.files import PARTIAL
from raymu.store.ledger import check_ledger
from raymu.store.run import RunStore
from raymu.store.signing import public_key


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    store: RunStore
    recorded: Recorded
    expected: Expected
    generation: Generation | None
    """The served one, whatever checks say of it; None where it cannot be read."""


Findings = Iterator[Finding]


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedCheck:
    """count: of the objects that it looks at"""

    count: Callable[[Evidence], int]
    find: Callable[[Evidence], Findings]


def fails(what: str) -> Finding:
    return Finding(verdict=Verdict.FAIL, what=what)


def leaves_open(what: str) -> Finding:
    return Finding(verdict=Verdict.INCONCLUSIVE, what=what)


def _journal(evidence: Evidence) -> Findings:
    """The events are sealed and chained (reading them has checked that); the rest of the database follows from them."""
    store, recorded, expected = evidence.store, evidence.recorded, evidence.expected
    announced = store.epoch()
    if announced == recorded.epoch + 1:  # the files are told first
        yield leaves_open("a coordinator is about to take over, or broke off: `raymu settle` takes over")
    elif announced != recorded.epoch:
        yield fails(f"the files are of epoch {announced}, the journal of epoch {recorded.epoch}")
    if recorded.revoked != expected.revoked:
        yield fails("the keyed hashes of revoked samples are not those of the accepted requests")
    kept = recorded.unpurged & expected.purged
    if kept:
        yield fails(f"raw ids of {len(kept)} purged requests are still kept, such as of {min(kept)}")
    if store.config.cluster.journal is None:
        sealed = is_at_rest(store.files, store.keys, epoch=recorded.epoch, sequence=recorded.head.sequence)
        if sealed is None:
            yield leaves_open("a coordinator has the journal open, or broke off: `raymu settle` closes it")
        elif not sealed:
            yield fails("the journal's file is not the one that its coordinator closed")


def _receipts(evidence: Evidence) -> Findings:
    store, recorded, expected = evidence.store, evidence.recorded, evidence.expected
    if public_key(store.keys.signing_key) != store.keys.public_key:
        yield fails("signing.pub does not belong to signing.key")
    issued = tuple(check_ledger(recorded.ledger, run=store.manifest.run_id, public_key=store.keys.public_key))
    if issued != expected.receipts:
        yield fails("the issued receipts are not those that follow from the journal")


def _generation(evidence: Evidence) -> Findings:
    store, expected = evidence.store, evidence.expected
    if expected.published is None:
        yield leaves_open("the run is not trained: `raymu settle` finishes its training")
        return
    generation = store.current()
    command = expected.publication
    if command is None or (generation.constituents, generation.lineages) != (command.constituents, command.lineages):
        yield fails(f"generation {generation.number} is not the one that follows from the journal")
    if generation.previous_sha256 != expected.previous_sha256:
        yield fails(f"generation {generation.number} is not chained to the one before it")
    for number in store.generations.numbers:
        if number != generation.number:
            yield _while_at_work(evidence, f"generation {number} is superseded, or was never committed, and is there")


def _files(evidence: Evidence) -> Findings:
    for ref in sorted(_needed(evidence), key=lambda ref: ref.path):
        try:
            evidence.store.files.read_checked(ref)
        except (FileMissing, FileCorrupt) as error:
            yield fails(str(error))


def _lineage(evidence: Evidence) -> Findings:
    expected = evidence.expected
    if evidence.generation:
        yield from descent_findings(evidence.store, evidence.generation, expected.revoked, expected.waiting)


def _purge(evidence: Evidence) -> Findings:
    """Nothing superseded is left, under its own name or another."""
    store, needed = evidence.store, _needed(evidence)
    for path in store.strays(needed):
        if path.endswith(PARTIAL):
            yield leaves_open(f"{path} is half-written: by a process that is at it, or broke off")
        else:
            yield _while_at_work(evidence, f"{path} is needed by nothing, and there")
    gone = {ref.sha256 for ref in evidence.expected.superseded} - {ref.sha256 for ref in needed}
    for path in store.files.every():
        if hashlib.sha256(store.files.read(path)).hexdigest() in gone:
            yield fails(f"{path} is a file that was purged")


def _while_at_work(evidence: Evidence, what: str) -> Finding:
    """What may be there in the middle of training or of a repair only."""
    expected = evidence.expected
    if expected.published and expected.board.is_idle:
        return fails(what)
    return leaves_open(f"{what}: work is under way, or broke off; `raymu settle` finishes it")


def _needed(evidence: Evidence) -> set[FileRef]:
    """Every file that the generation, the board or a remedy at work refers to."""
    board = evidence.expected.board
    lineages = (*board.lineages, *(evidence.generation.lineages if evidence.generation else ()))
    needed = {file for lineage in lineages for file in lineage.files} | set(
        evidence.store.manifest.tables if not lineages else ()
    )
    return needed | {file for work in board.at_work for reference in work.references for file in reference.files}


CHECKS: Mapping[str, NamedCheck] = {
    "journal": NamedCheck(count=lambda it: len(it.recorded.events), find=_journal),
    "receipts": NamedCheck(count=lambda it: len(it.recorded.ledger), find=_receipts),
    "generation": NamedCheck(
        count=lambda it: len(it.generation.constituents) if it.generation else 0, find=_generation
    ),
    "files": NamedCheck(count=lambda it: len(_needed(it)), find=_files),
    "lineage": NamedCheck(count=lambda it: len(it.generation.lineages) if it.generation else 0, find=_lineage),
    "purge": NamedCheck(count=lambda it: len(it.store.files.every()), find=_purge),
}
"""What is checked, in this order; one row each."""
