"""Checks of a verification and their verdicts."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from raymu.errors import FileUnreadable, JournalBusy, RaymuError, RunFormatTooNew, RunUntrusted, StorageFailed

_LEAVE_OPEN = (FileUnreadable, JournalBusy, StorageFailed, RunFormatTooNew, RunUntrusted)
"""Errors that say nothing about a run: something could not be read, or not be understood."""


class Verdict(StrEnum):
    """The result of a check, an audit or a verification."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Why a check does not pass: FAIL contradicts it, INCONCLUSIVE leaves it open."""

    verdict: Verdict
    what: str


def fails(what: str) -> Finding:
    return Finding(verdict=Verdict.FAIL, what=what)


def leaves_open(what: str) -> Finding:
    return Finding(verdict=Verdict.INCONCLUSIVE, what=what)


def finding_of(error: RaymuError) -> Finding:
    """Return the finding of a check that an error ended."""
    return leaves_open(str(error)) if isinstance(error, _LEAVE_OPEN) else fails(str(error))


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
