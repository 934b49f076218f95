"""Write a run's page: read, measure and verify what is asked for, and keep it as one file."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raymu.api import Run
from raymu.core.verdict import Verdict
from raymu.errors import NoVoters, RequestInvalid
from raymu.output_file import atomic_write, check_output_path
from raymu.report.load import Measured, read_run
from raymu.report.page import render
from raymu.report.training_summary import file_name
from raymu.report.view import view_of
from raymu.service.shard.messages import Progress, no_progress
from raymu.store.run import RunStore
from raymu.text import one_line


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportWritten:
    """late: requests that are overdue, or would be exact too late; verdict: None where none was asked for"""

    out: str
    generation: int
    requests: int
    late: int
    verdict: Verdict | None


def write_report(
    run: Run,
    out: Path,
    *,
    data: str | None = None,
    is_verified: bool = False,
    audit: Path | None = None,
    progress: Progress = no_progress,
) -> ReportWritten:
    """data: labelled samples to measure the current generation on; audit: what an audit found, as JSON

    Raises RunInvalid, DataInvalid, RequestInvalid, FileMissing, FileCorrupt, and then nothing is written.
    """
    check_output_path(out, reads={"the samples to measure on": data, "the audit": audit}, run=run.location)
    found = _read_audit(audit) if audit else None
    record = read_run(
        RunStore(run.location),
        measured=_measure(run, data) if data else None,
        verification=run.verify(progress=progress) if is_verified else None,
        audit=found,
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
        requests=view.glance.requests,
        late=view.glance.late,
        verdict=view.verification.verdict if view.verification else None,
    )


def _measure(run: Run, data: str) -> Measured:
    try:
        return Measured(file=file_name(data), evaluation=run.evaluate_file(data))
    except NoVoters:  # the page says so
        return Measured(file=file_name(data), evaluation=None)


def _read_audit(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestInvalid(f"{path}: cannot be read ({error.strerror}); give the JSON of an audit") from error
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(f"{path}: is not JSON ({error}); give the JSON of an audit") from error
