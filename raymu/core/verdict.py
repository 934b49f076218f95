"""What a verification says."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from raymu.errors import FileUnreadable, JournalBusy, RaymuError, RunFormatTooNew, StorageFailed

_LEAVE_OPEN = (FileUnreadable, JournalBusy, StorageFailed, RunFormatTooNew)
"""What was not read, or not understood, speaks neither for nor against a run."""


class Verdict(StrEnum):
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
    """What an error in the middle of a check says of what is checked."""
    return leaves_open(str(error)) if isinstance(error, _LEAVE_OPEN) else fails(str(error))


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was checked, and on how many objects."""

    name: str
    checked: int
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        return worst(finding.verdict for finding in self.findings)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """FAIL before INCONCLUSIVE before PASS."""
    found = set(verdicts)
    return next((one for one in (Verdict.FAIL, Verdict.INCONCLUSIVE) if one in found), Verdict.PASS)
