"""Write the page of a run: read it, measure and verify it if requested, and write one file."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from raymu.api import Run
from raymu.core.verdict import Verdict
from raymu.errors import NoVoters, RequestInvalid
from raymu.output_file import atomic_write, check_output_path, require_ending
from raymu.report.load import Measurement, read_run
from raymu.report.page import render
from raymu.report.training_summary import file_name
from raymu.report.view import view_of
from raymu.service.audit.document import read_audit
from raymu.service.shard.messages import Progress, no_progress
from raymu.store.run import RunStore
from raymu.text import one_line


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


def write_report(
    run: Run,
    out: Path,
    *,
    data: str | None = None,
    is_verified: bool = False,
    audit: Path | None = None,
    progress: Progress = no_progress,
) -> ReportWritten:
    """Write the page of a run.

    Args:
        run: The run.
        out: The HTML file.
        data: A labelled table to measure the accuracy on.
        is_verified: Whether to verify the run.
        audit: The result of an audit, as a JSON file.
        progress: Called with the progress of the verification.

    Raises:
        RunInvalid: The run is not trained.
        DataInvalid: The table cannot be used.
        RequestInvalid: The audit cannot be read, or is not one of this run, or the page cannot be written.
        FileMissing: A file of the current generation is missing.
        FileCorrupt: Such a file is damaged.
    """
    check_output_path(out, reads={"the samples to measure on": data, "the audit": audit}, run=run.location)
    require_ending(out, (".html", ".htm"))
    run.require_not_rolled_back()
    store = RunStore(run.location, trust=run.trust)
    record = read_run(
        store,
        measured=_measure(run, data) if data else None,
        verification=run.verify(progress=progress) if is_verified else None,
        audit=read_audit(store, audit) if audit else None,
        now=datetime.now(UTC),
    )
    view = view_of(record)
    try:
        with atomic_write(out) as partial:
            partial.write_text(render(view), encoding="utf-8")
    except OSError as error:
        raise RequestInvalid(f"{out}: cannot be written ({one_line(error)}); name another place") from error
    return ReportWritten(
        out=str(out),
        generation=view.generation,
        requests=view.summary.requests,
        late=view.summary.late,
        verdict=view.verification.verdict if view.verification else None,
    )


def _measure(run: Run, data: str) -> Measurement:
    """Measure the accuracy. Raise DataInvalid."""
    try:
        return Measurement(file=file_name(data), evaluation=run.evaluate_file(data))
    except NoVoters:  # which the page says
        return Measurement(file=file_name(data), evaluation=None)
