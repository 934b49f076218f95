"""Write receipts into one file that people keep: HTML that loads nothing and runs no script, or PDF."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from raymu.errors import RequestInvalid
from raymu.output_file import atomic_write, check_output_path, require_ending
from raymu.report.page import render_page
from raymu.report.receipt_document import read_receipts
from raymu.report.receipt_pdf import receipts_pdf, require_pdf
from raymu.report.write import OpenRun
from raymu.store.run import RunStore
from raymu.text import one_line, plural

_ENDINGS = {"html": (".html", ".htm"), "pdf": (".pdf",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptsWritten:
    """A file of receipts that was written."""

    out: str
    format: str
    """html or pdf."""
    requests: int
    issued: int
    """Requests with a receipt; the others are not purged yet, and the file says so."""

    def __str__(self) -> str:
        """Return one line."""
        waiting = self.requests - self.issued
        rest = f"; no receipt is issued yet for {plural(waiting, 'request')}" if waiting else ""
        return f"wrote {plural(self.issued, 'receipt')} into {self.out}{rest}"


def check_receipt_file(run: OpenRun, out: Path, *, form: str) -> None:
    """Raise RequestInvalid if a file of receipts cannot be written.

    Args:
        run: The run.
        out: The file.
        form: html or pdf.
    """
    check_output_path(out, reads={}, run=run.location)
    require_ending(out, _ENDINGS[form])
    if form == "pdf":
        require_pdf()


def write_receipts(
    run: OpenRun, out: Path, *, form: str, request_ids: Collection[str] | None = None
) -> ReceiptsWritten:
    """Write requests with their receipts into one file.

    Args:
        run: The run.
        out: The file.
        form: html or pdf.
        request_ids: The requests; None for all.

    Raises:
        RequestInvalid: The file cannot be written, there is no request, or PDF needs an extra that is not installed.
        FileCorrupt: A receipt was changed.
    """
    check_receipt_file(run, out, form=form)
    run.require_not_rolled_back()
    documents = read_receipts(RunStore(run.location, trust=run.trust), request_ids, now=datetime.now(UTC))
    if not documents:
        raise RequestInvalid("no request has been made yet, so there is no receipt to write")
    if form == "pdf":
        payload = receipts_pdf(documents)
    else:
        payload = render_page("receipt_file", site=None, documents=documents).encode()
    try:
        with atomic_write(out) as partial:
            partial.write_bytes(payload)
    except OSError as error:
        raise RequestInvalid(f"{out}: cannot be written ({one_line(error)}); name another place") from error
    issued = sum(document.request.issued is not None for document in documents)
    return ReceiptsWritten(out=str(out), format=form, requests=len(documents), issued=issued)
