"""The check of the purge: no superseded file is left, no remains of a failure, and no file that raymu never wrote."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress

from raymu.core.findings import FindingKind
from raymu.core.records import FileRef
from raymu.core.verdict import Finding, fails, leaves_open
from raymu.errors import FileMissing, FileUnreadable
from raymu.service.shard.reports import find_report
from raymu.service.verify.evidence import Evidence
from raymu.store.files.concurrency import map_concurrently
from raymu.store.layout import PRESENCE, TERM, is_partial, kind_of
from raymu.store.reports import report_path

_LEFT_BY_FAILURES = ("report", "partial report", "mark of an unfinished run")
"""Kinds of files that a command or a failure may leave at any time."""


def leftover_findings(evidence: Evidence) -> Iterator[Finding]:
    """Yield files that should not exist, under whatever name. Raises FileUnreadable if the files cannot be listed."""
    if evidence.expected.is_unfinished:
        yield leaves_open(FindingKind.UNFINISHED, "superseded files can remain")
    if evidence.store.files.keeps_versions(TERM):
        yield leaves_open(FindingKind.VERSIONS, "the bucket keeps versions")
    for path in evidence.store.files.irregular():
        yield fails(FindingKind.LINK, f"{path} is a link or no file")
    needed, superseded = needed_files(evidence), evidence.expected.superseded
    for ref in sorted(needed & superseded, key=lambda ref: ref.path):
        yield leaves_open(FindingKind.NEEDED_PURGED_FILE, f"{ref.path} is needed, although it was purged before")
    purged = {ref.sha256 for ref in superseded} - {ref.sha256 for ref in needed}
    needless = {*evidence.store.garbage.paths(needed), *_unawaited_reports(evidence)}

    def check(path: str) -> Finding | None:
        try:
            digest = hashlib.sha256(evidence.store.files.read(path)).hexdigest()
        except FileMissing:  # destroyed since it was listed
            return None
        except FileUnreadable as error:
            return leaves_open(FindingKind.UNREAD, str(error))
        if digest in purged:
            is_own = kind_of(path) is not None
            kind = FindingKind.PURGED_FILE if is_own else FindingKind.FOREIGN_PURGED_FILE
            return fails(kind, f"{path} is a file that was purged")
        return _needless(evidence, path) if path in needless or kind_of(path) in (None, "partial report") else None

    yield from filter(None, map_concurrently(check, evidence.store.files.walk()))
    yield from _presence(evidence)
    for path in evidence.store.verdicts.foreign(run=evidence.store.manifest.run_id):
        yield fails(FindingKind.FOREIGN_FILE, f"{path} is not what `raymu verify` or `raymu audit` wrote")


def _presence(evidence: Evidence) -> Iterator[Finding]:
    """Judge the file that says where the run's coordinator is up: whoever else wrote it may have put anything there."""
    store = evidence.store
    was_there, presence = store.files.exists(PRESENCE), store.presence.read()
    if presence is None and was_there and store.files.exists(PRESENCE):  # otherwise it came or went meanwhile
        yield fails(FindingKind.NEEDLESS, f"{PRESENCE} is not what a coordinator wrote")
    elif presence is not None and presence.is_ended:
        yield leaves_open(FindingKind.NEEDLESS, f"{PRESENCE} was left behind")


def _needless(evidence: Evidence, path: str) -> Finding:
    """Judge a file that nothing needs: a write or a command may leave some at any time, states only during a repair."""
    if is_partial(path) or kind_of(path) in _LEFT_BY_FAILURES:
        return leaves_open(FindingKind.NEEDLESS, f"{path} was left behind")
    if kind_of(path) is None:
        return fails(FindingKind.FOREIGN_FILE, f"{path} is not a file of a run")
    return unless_unfinished(evidence, FindingKind.NEEDLESS, f"{path} exists, but nothing needs it")


def unless_unfinished(evidence: Evidence, kind: FindingKind, problem: str) -> Finding:
    """Return a failure, or an open finding while work is unfinished, which explains the problem."""
    if evidence.expected.is_unfinished:
        return leaves_open(FindingKind.UNFINISHED, problem)
    return fails(kind, problem)


def needed_files(evidence: Evidence) -> set[FileRef]:
    """Return every file that the generation, the board, or a running repair and its report refer to."""
    store, board = evidence.store, evidence.expected.board
    lineages = [*board.lineages, *(evidence.generation.lineages if evidence.generation else ())]
    for command_id in evidence.expected.awaited:
        with suppress(FileUnreadable):  # the check of the files reports it
            report = find_report(store, command_id)
            lineages.extend([report.lineage] if report else [])
    needed = {file for lineage in lineages for file in lineage.files}
    needed |= {file for command in board.awaited for reference in command.references for file in reference.files}
    needed |= set(board.tables) | set(filter(None, board.indexes))
    return needed | store.shared_files | set(store.manifest.routes_with(board.added_routes) or ())


def _unawaited_reports(evidence: Evidence) -> set[str]:
    """Return the paths of reports of commands that are not running."""
    awaited = evidence.expected.awaited
    return {report_path(command_id) for command_id in evidence.store.reports.finished if command_id not in awaited}
