"""The page of a run: read it, measure and verify it if requested, show the page in a notebook, and write it into a file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from raymu.core.trust import Trust
from raymu.core.verdict import Verdict
from raymu.errors import NoVoters, RequestInvalid
from raymu.output_file import atomic_write, check_output_path, require_ending
from raymu.report.load import Measurement, read_run
from raymu.report.page import render
from raymu.report.training_summary import file_name
from raymu.report.view import view_of
from raymu.service.audit.document import AuditDocument, AuditKind, audit_document, check_audit, read_audit
from raymu.service.audit.report import AuditReport
from raymu.service.audit.snapshot_report import SnapshotReport
from raymu.service.shard.messages import Progress, no_progress
from raymu.shown_record import ShownRecord
from raymu.store.run import RunStore
from raymu.text import one_line

if TYPE_CHECKING:  # PyTorch, which a page needs only if the run is measured or verified
    from raymu.service.prediction import Evaluation
    from raymu.service.verify.verify import Verification

_ENDINGS = (".html", ".htm")


class OpenRun(Protocol):
    """What a page needs of a run: `raymu.Run` has it."""

    location: str
    trust: Trust

    def require_not_rolled_back(self) -> None:
        """Raise RunRolledBack if an older copy was put in the run's place."""

    def verify(self, *, progress: Progress = ...) -> "Verification":
        """Verify the run."""

    def evaluate_file(self, path: str) -> "Evaluation":
        """Measure the score of the current generation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportWritten:
    """The result of writing a report."""

    out: str
    generation: int
    requests: int
    late: int
    """Requests that are overdue, or will be exact too late by the forecast."""
    verdict: Verdict | None
    """None if the run was not verified."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class RunReport(ShownRecord):
    """The page of a run, as it was when it was read. It names no sample and no owner. A notebook shows it."""

    html: str
    """The page, which loads nothing and runs no script."""
    location: str
    """The run."""
    generation: int
    requests: int
    late: int
    """Requests that are overdue, or will be exact too late by the forecast."""
    verdict: Verdict | None
    """None if the run was not verified."""

    def write(self, out: str | Path) -> ReportWritten:
        """Write the page into a file that ends in .html or .htm. Raises RequestInvalid."""
        place = Path(out).expanduser()
        check_output_path(place, reads={}, run=self.location)
        require_ending(place, _ENDINGS)
        try:
            with atomic_write(place) as partial:
                partial.write_text(self.html, encoding="utf-8")
        except OSError as error:
            raise RequestInvalid(f"{place}: cannot be written ({one_line(error)}); name another place") from error
        return ReportWritten(
            out=str(place),
            generation=self.generation,
            requests=self.requests,
            late=self.late,
            verdict=self.verdict,
        )

    @property
    def _facts(self) -> dict[str, object]:
        verdict = {} if self.verdict is None else {"verdict": self.verdict}
        return {"generation": self.generation, "requests": self.requests, "late": self.late, **verdict}

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, so that neither its style nor the notebook's reaches the other."""
        return (
            f'<iframe sandbox title="Report of a run" srcdoc="{escape(self.html)}" '
            'style="width: 100%; height: 40em; border: 0"></iframe>'
        )


def make_report(
    run: OpenRun,
    *,
    data: str | None = None,
    is_verified: bool = False,
    audits: Sequence[Path | AuditReport | SnapshotReport] = (),
    progress: Progress = no_progress,
) -> RunReport:
    """Make the page of a run. Nothing is written.

    Args:
        run: The run.
        data: A labelled table to measure the accuracy on.
        is_verified: Whether to verify the run.
        audits: Results of an audit and of an audit with two snapshots, at most one of each, or JSON files of them.
        progress: Called with the progress of the verification.

    Raises:
        RunInvalid: The run is not trained.
        DataInvalid: The table cannot be used.
        RequestInvalid: An audit cannot be read, is not one of this run, or is the second of its kind.
        FileMissing: A file of the current generation is missing.
        FileCorrupt: Such a file is damaged.
    """
    run.require_not_rolled_back()
    store = RunStore(run.location, trust=run.trust)
    documents = _by_kind(store, audits)
    record = read_run(
        store,
        measured=_measure(run, data) if data else None,
        verification=run.verify(progress=progress) if is_verified else None,
        audit=documents.get("audit"),
        snapshots=documents.get("audit with two snapshots"),
        now=datetime.now(UTC),
    )
    view = view_of(record)
    return RunReport(
        html=render(view),
        location=run.location,
        generation=view.generation,
        requests=view.summary.requests,
        late=view.summary.late,
        verdict=view.verification.verdict if view.verification else None,
    )


def write_report(
    run: OpenRun,
    out: Path,
    *,
    data: str | None = None,
    is_verified: bool = False,
    audits: Sequence[Path] = (),
    progress: Progress = no_progress,
) -> ReportWritten:
    """Make the page of a run and write it into the HTML file `out`, which is checked before. Arguments and errors are
    those of `make_report`, and RequestInvalid if the file cannot be written.
    """
    check_output_path(out, reads={"the samples to measure on": data}, run=run.location)
    for path in audits:
        check_output_path(out, reads={"the audit": path})
    require_ending(out, _ENDINGS)
    report = make_report(run, data=data, is_verified=is_verified, audits=audits, progress=progress)
    return report.write(out)


def _by_kind(store: RunStore, audits: Sequence[Path | AuditReport | SnapshotReport]) -> dict[AuditKind, AuditDocument]:
    """Check audits against the run. Raises RequestInvalid, also if two are of one kind: the page has room for one."""
    documents: dict[AuditKind, AuditDocument] = {}
    for audit in audits:
        document = _checked(store, audit)
        if document.kind in documents:
            where = f"{audit}: " if isinstance(audit, Path) else ""
            raise RequestInvalid(f"{where}is a second {document.kind}; the page shows one, so leave one out")
        documents[document.kind] = document
    return documents


def _checked(store: RunStore, audit: Path | AuditReport | SnapshotReport) -> AuditDocument:
    """Check an audit against the run. Raises RequestInvalid."""
    if not isinstance(audit, Path):
        return check_audit(store, json.loads(json.dumps(audit_document(store, audit))), source="the audit")
    return read_audit(store, audit)


def _measure(run: OpenRun, data: str) -> Measurement:
    """Measure the accuracy. Raise DataInvalid."""
    try:
        return Measurement(file=file_name(data), evaluation=run.evaluate_file(data))
    except NoVoters:  # which the page says
        return Measurement(file=file_name(data), evaluation=None)
