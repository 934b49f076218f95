"""What lies in a run and should not: what was superseded, what broke off, and what raymu never wrote."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress

from raymu.core.commands import RepairReport
from raymu.core.records import FileRef
from raymu.core.verdict import Finding, fails, leaves_open
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable
from raymu.service.shard.messages import TrainReport
from raymu.service.verify.evidence import Evidence
from raymu.store.files.concurrency import map_concurrently
from raymu.store.files.local import PARTIAL
from raymu.store.layout import TERM, kind_of
from raymu.store.reports import report_path
from raymu.store.run import RunStore

_UNDER_WAY = "work is under way, or broke off; `raymu settle` finishes it"


def leftovers(evidence: Evidence) -> Iterator[Finding]:
    """Nothing superseded is left, under its own name or another, and nothing that raymu never wrote."""
    if evidence.expected.is_at_work:
        yield leaves_open(f"not all that is superseded is destroyed: {_UNDER_WAY}")
    if evidence.store.files.keeps_versions(TERM):
        yield leaves_open(
            "the bucket keeps versions: suspend that, and delete the earlier versions of what was destroyed"
        )
    needed, superseded = needed_files(evidence), evidence.expected.superseded
    for ref in sorted(needed & superseded, key=lambda ref: ref.path):
        yield leaves_open(
            f"{ref.path} is needed, and was destroyed once: restore a sound run from a backup, or train anew"
        )
    gone = {ref.sha256 for ref in superseded} - {ref.sha256 for ref in needed}
    needless = {*evidence.store.garbage(needed), *_settled_reports(evidence)}

    def look_at(path: str) -> Finding | None:
        try:
            digest = hashlib.sha256(evidence.store.files.read(path)).hexdigest()
        except FileMissing:  # destroyed since it was listed
            return None
        except FileUnreadable as error:
            return leaves_open(str(error))
        if digest in gone:
            return fails(f"{path} is a file that was purged")
        return _needless(evidence, path) if path in needless or kind_of(path) in (None, "partial report") else None

    yield from filter(None, map_concurrently(look_at, evidence.store.files.walk()))


def _needless(evidence: Evidence, path: str) -> Finding:
    """What a write or a command left behind may be there at any time; a state in the middle of a repair only."""
    if path.endswith(PARTIAL) or kind_of(path) in ("report", "partial report", "mark of an unfinished run"):
        return leaves_open(f"{path} was left behind: `raymu settle` destroys it")
    if kind_of(path) is None:
        return fails(f"{path} is no file of a run")
    return while_at_work(evidence, f"{path} is needed by nothing, and there")


def while_at_work(evidence: Evidence, what: str) -> Finding:
    """What may be there in the middle of a repair only."""
    return leaves_open(f"{what}: {_UNDER_WAY}") if evidence.expected.is_at_work else fails(what)


def needed_files(evidence: Evidence) -> set[FileRef]:
    """Every file that the generation, the board, or a remedy at work and its report refer to."""
    store, board = evidence.store, evidence.expected.board
    lineages = [*board.lineages, *(evidence.generation.lineages if evidence.generation else ())]
    for command_id in evidence.expected.awaited:
        with suppress(FileCorrupt, FileUnreadable):  # the check of the files says so
            report = find_report(store, command_id)
            lineages.extend([report.lineage] if report else [])
    needed = {file for lineage in lineages for file in lineage.files}
    needed |= {file for work in board.running for reference in work.references for file in reference.files}
    return needed if board.lineages else needed | set(store.manifest.tables)


def _settled_reports(evidence: Evidence) -> set[str]:
    """Paths of the reports that nobody waits for."""
    there, awaited = evidence.store.reports.finished, evidence.expected.awaited
    return {report_path(command_id) for command_id in there if command_id not in awaited}


def find_report(store: RunStore, command_id: str) -> TrainReport | RepairReport | None:
    """Raises FileCorrupt."""
    kind: type[TrainReport | RepairReport] = TrainReport if command_id.startswith("train") else RepairReport
    return store.reports.find(kind, command_id)
