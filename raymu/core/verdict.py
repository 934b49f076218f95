"""Checks of a verification and their verdicts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias

from raymu.core.findings import WAYS_OUT, FindingKind
from raymu.errors import (
    FileCorrupt,
    FileMissing,
    FileUnreadable,
    JournalBusy,
    RaymuError,
    RunFormatTooNew,
    RunUntrusted,
    StorageFailed,
)

_LEAVE_OPEN = (FileUnreadable, JournalBusy, StorageFailed, RunFormatTooNew, RunUntrusted)
"""Errors that say nothing about a run: something could not be read, or not be understood."""


class Verdict(StrEnum):
    """The result of a check, an audit or a verification."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


CheckName: TypeAlias = Literal["verify", "audit"]
CHECKS: tuple[CheckName, ...] = ("verify", "audit")
"""The commands that end with a verdict."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LastVerdict:
    """How a command that checks a run ended last."""

    run: str
    """Id of the run."""
    check: CheckName
    verdict: Verdict
    generation: int | None
    """Number of the generation that was checked; None if it could not be read."""
    at: datetime
    """When the check ended."""

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError(f"{self.at} has no time zone")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Why a check does not pass: FAIL contradicts it, INCONCLUSIVE leaves it open."""

    verdict: Verdict
    what: str
    """The problem, and what to do about it."""
    kind: FindingKind = FindingKind.UNREAD


def fails(kind: FindingKind, problem: str) -> Finding:
    """Return the finding that a check fails."""
    return _finding(Verdict.FAIL, kind, problem)


def leaves_open(kind: FindingKind, problem: str) -> Finding:
    """Return the finding that a check is left open."""
    return _finding(Verdict.INCONCLUSIVE, kind, problem)


def finding_of(error: RaymuError, kind: FindingKind) -> Finding:
    """Return the finding of a check that an error ended. kind: of damage, if the error is about a file's content"""
    match error:
        case FileMissing():
            return fails(kind, f"{error.path} is missing")
        case FileCorrupt():
            return fails(kind, f"{error.path}: {error.problem}")
        case _ if isinstance(error, _LEAVE_OPEN):
            return leaves_open(FindingKind.UNREAD, str(error))
        case _:
            return fails(kind, str(error))


def _finding(verdict: Verdict, kind: FindingKind, problem: str) -> Finding:
    way_out = WAYS_OUT[kind]
    return Finding(verdict=verdict, kind=kind, what=f"{problem}: {way_out}" if way_out else problem)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check of a verification."""

    name: str
    checked: int
    """Number of objects that were checked."""
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        return worst(finding.verdict for finding in self.findings)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict: FAIL before INCONCLUSIVE before PASS."""
    present = set(verdicts)
    return next((verdict for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE) if verdict in present), Verdict.PASS)
