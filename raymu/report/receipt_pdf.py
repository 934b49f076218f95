"""Receipts as a PDF file for the archive: PDF/A-2u on A4, whose text can be searched and copied.

The same documents give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from raymu.errors import RequestInvalid
from raymu.report.formatting import printable
from raymu.report.receipt_document import ReceiptDocument
from raymu.report.requests import DatedEvent
from raymu.text import duration, plural, words

if TYPE_CHECKING:
    from fpdf import FPDF

_TEXT, _MONO = "DejaVu", "DejaVuMono"
_SIZE, _SMALL, _LINE = 9.5, 8.0, 5.0
"""Points, points and millimetres."""
_MUTED = (89, 97, 106)
_MARGIN = 20
_MOST_HASHES = 300
"""Keyed hashes that are printed: a few pages. The signed receipt has all of them."""
_TITLE_WIDTH = 42


def has_pdf() -> bool:
    """Return whether the extra `pdf` is installed."""
    return find_spec("fpdf") is not None


def require_pdf() -> None:
    """Raise RequestInvalid unless the extra `pdf` is installed."""
    if not has_pdf():
        raise RequestInvalid("fpdf2, which writes PDF files, is not installed; pip install 'raymu[pdf]'")


def receipts_pdf(documents: Sequence[ReceiptDocument]) -> bytes:
    """Return receipts as one PDF file, each from a page of its own.

    Raises:
        RequestInvalid: The extra `pdf` is not installed.
    """
    require_pdf()
    pages = _Pages(documents)
    for document in documents:
        pages.add(document)
    return pages.bytes()


class _Pages:
    """The pages of a file that is being written."""

    def __init__(self, documents: Sequence[ReceiptDocument]) -> None:
        self._pdf = _new_file(documents)

    def add(self, document: ReceiptDocument) -> None:
        """Write one receipt."""
        receipt, request = document.receipt, document.request
        pdf = self._pdf
        pdf.add_page()
        pdf.start_section(f"{document.kind} {receipt.request_id}")
        self._line(f"{document.kind}, run {document.run}", size=_SIZE, is_muted=True)
        self._line(receipt.request_id, font=_MONO, size=16)
        self._line(f"{plural(receipt.samples, 'sample')}, strategy {receipt.strategy}", is_bold=True)
        pdf.ln(2)
        self._line(document.result)
        if document.group:
            self._line(document.group)
        self._line(document.cost)
        if not document.is_final:
            self._line(f"Written {_moment(document.now)}, and may change.", is_muted=True)
        pdf.ln(2)
        self._facts(
            [
                ("due", f"{_moment(receipt.due_at)}: {request.deadline_status}"),
                ("hybrid boundary", receipt.boundary),
                ("generations", _generations(document)),
                ("destroyed", _destroyed(document)),
                ("run", document.run_id),
            ]
        )
        self._heading("What was done, and when (in UTC)")
        self._facts((_clock(event.at), _event(event.name, event.note, event.after_s)) for event in _events(document))
        if receipt.shards:
            self._heading("Shards")
            self._shards(document)
        self._heading("Signature and hashes" if request.issued else "Hashes")
        self._hashes(document)
        if request.issued:
            self._heading("To check it")
            for check in document.checks:
                self._line(check.command, font=_MONO, size=_SMALL)
                self._line(check.purpose, is_muted=True)
            self._line(
                "RUN is the run's directory. The key signing.pem has to come by another way than the receipt does: compare "
                "its fingerprint.",
                is_muted=True,
            )
        pdf.ln(3)
        self._line(
            "This document names no person and no sample: samples and owners appear as keyed hashes, which cannot be "
            "reversed without the key of the run.",
            is_muted=True,
        )

    def bytes(self) -> bytes:
        """Return the file."""
        return bytes(self._pdf.output())

    def _line(
        self, text: str, *, font: str = _TEXT, size: float = _SIZE, is_bold: bool = False, is_muted: bool = False
    ) -> None:
        pdf = self._pdf
        pdf.set_font(font, "B" if is_bold else "", size)
        if is_muted:
            pdf.set_text_color(*_MUTED)
        pdf.multi_cell(0, max(_LINE, size * 0.5), _shown(text), new_x="LMARGIN", new_y="NEXT", align="L")
        pdf.set_text_color(0)

    def _heading(self, text: str) -> None:
        pdf = self._pdf
        if pdf.get_y() > pdf.h - 55:  # a heading stays with what follows it
            pdf.add_page()
        pdf.ln(3)
        pdf.start_section(text, level=1)
        self._line(text, size=11.5, is_bold=True)

    def _facts(self, facts: Iterable[tuple[str, str]], *, font: str = _TEXT) -> None:
        """Write names and values in two columns."""
        from fpdf.fonts import FontFace

        pdf = self._pdf
        pdf.set_font(_TEXT, "", _SIZE)
        of_name = FontFace(color=_MUTED)
        of_value = FontFace(family=font, size_pt=_SMALL if font == _MONO else _SIZE)
        with pdf.table(
            col_widths=(_TITLE_WIDTH, 170 - _TITLE_WIDTH),
            text_align="LEFT",
            borders_layout="NONE",
            line_height=_LINE,
            padding=0,
            v_align="TOP",
            first_row_as_headings=False,
        ) as table:
            for name, value in facts:
                row = table.row()
                row.cell(_shown(name), style=of_name)
                row.cell(_shown(value), style=of_value)

    def _shards(self, document: ReceiptDocument) -> None:
        pdf = self._pdf
        pdf.set_font(_TEXT, "", _SMALL)
        headings = ("Shard", "Samples", "Remedy", "Result", "Passes", "Compute", "Reason")
        widths = (14, 17, 32, 22, 16, 18, 51)
        aligned = ("RIGHT", "RIGHT", "LEFT", "LEFT", "RIGHT", "RIGHT", "LEFT")
        with pdf.table(
            col_widths=widths,
            text_align=aligned,
            borders_layout="HORIZONTAL_LINES",
            line_height=4.2,
            padding=(0.6, 1),
            v_align="TOP",
        ) as table:
            table.row(headings)
            for part in document.receipt.shards:
                remedy = words(part.remedy) + (", settled by retraining" if part.settled_by else "")
                shared = f" (shared by {plural(part.requests, 'request')})" if part.requests > 1 else ""
                cells = (
                    str(part.shard),
                    f"{part.samples:,}",
                    remedy,
                    str(part.exactness),
                    f"{part.passes:,.0f}",
                    duration(part.seconds),
                    part.reason + shared,
                )
                table.row([_shown(cell) for cell in cells])

    def _hashes(self, document: ReceiptDocument) -> None:
        receipt, issued = document.receipt, document.request.issued
        facts: list[tuple[str, str]] = []
        if issued:
            facts += [
                ("receipt", f"number {issued.number} of the run"),
                ("its SHA-256, signed", issued.sha256),
                ("the receipt before it", issued.previous_sha256 or "none: it is the first of the chain"),
                ("signature (Ed25519)", issued.signature),
            ]
            if document.key_fingerprint:
                facts.append(("SHA-256 of the key, signing.pub", document.key_fingerprint))
        facts.append(("generation before", receipt.manifest_before))
        if receipt.manifest_after:
            facts.append(("generation after", receipt.manifest_after))
        for determinism in dict.fromkeys(part.determinism for part in receipt.shards):
            facts.append(("determinism class", determinism))
        self._facts(facts, font=_MONO)
        self._line("keyed hashes of the samples, and of the owner if one was named", is_muted=True)
        for one_hash in receipt.hashes[:_MOST_HASHES]:
            self._line(one_hash, font=_MONO, size=_SMALL)
        if (rest := len(receipt.hashes) - _MOST_HASHES) > 0:
            self._line(f"and {rest:,} more, which the signed receipt names")


def _new_file(documents: Sequence[ReceiptDocument]) -> FPDF:
    """Begin a file. Its date is that of the last thing that happened, so that a final receipt comes out the same again."""
    import matplotlib
    from fpdf import FPDF

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"

    class File(FPDF):
        """A file with a line below each page."""

        def footer(self) -> None:
            """Number the page."""
            self.set_y(-14)
            self.set_font(_TEXT, "", _SMALL)
            self.set_text_color(*_MUTED)
            self.cell(0, 5, f"raymu, run {_shown(documents[0].run)}: page {self.page_no()} of {{nb}}", align="R")
            self.set_text_color(0)

    pdf = File(orientation="P", unit="mm", format="A4", enforce_compliance="PDF/A-2U")
    pdf.set_margin(_MARGIN)
    pdf.set_auto_page_break(True, margin=18)
    pdf.add_font(_TEXT, "", fonts / "DejaVuSans.ttf")
    pdf.add_font(_TEXT, "B", fonts / "DejaVuSans-Bold.ttf")
    pdf.add_font(_MONO, "", fonts / "DejaVuSansMono.ttf")
    only = documents[0] if len(documents) == 1 else None
    title = f"{only.kind} {only.receipt.request_id}" if only else f"Receipts of run {_shown(documents[0].run)}"
    at = max(_changed_at(document) for document in documents)
    pdf.set_title(title)
    pdf.set_lang("en")
    pdf.set_producer("raymu")
    pdf.set_creation_date(at)
    pdf.set_xmp_metadata(_metadata(title, at))
    return pdf


def _metadata(title: str, at: datetime) -> str:
    """Return the XMP that PDF/A asks for. The library's own names the present time, so that no two files are the same."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:pdf="http://ns.adobe.com/pdf/1.3/" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/" pdfaid:part="2"'
        f' pdfaid:conformance="U" pdf:Producer="raymu" xmp:CreateDate="{at.isoformat(timespec="seconds")}">'
        f'<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{escape(title)}</rdf:li></rdf:Alt></dc:title>'
        "<dc:language><rdf:Bag><rdf:li>en</rdf:li></rdf:Bag></dc:language>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


def _changed_at(document: ReceiptDocument) -> datetime:
    at = document.receipt.settled_at if document.is_final else None
    return (at or document.now).astimezone(UTC)


def _events(document: ReceiptDocument) -> list[DatedEvent]:
    return [event for _, events in document.dates for event in events]


def _event(name: str, note: str, after_s: float | None) -> str:
    after = f"after {duration(after_s)}" if after_s else ""
    return ", ".join(part for part in (name, note, after) if part)


def _generations(document: ReceiptDocument) -> str:
    receipt = document.receipt
    numbers = {
        "before": receipt.generation_before,
        "rewound": receipt.generation_rewound,
        "after": receipt.generation_after,
    }
    return ", ".join(f"{number} {name}" for name, number in numbers.items() if number is not None)


def _destroyed(document: ReceiptDocument) -> str:
    receipt = document.receipt
    if receipt.purged_at is None:
        return "nothing yet"
    return f"{plural(receipt.purged_rows, 'row')} of samples, {plural(receipt.purged_files, 'file')}"


def _moment(at: datetime) -> str:
    return f"{_clock(at)} UTC"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _shown(text: str) -> str:
    """Replace what cannot be printed."""
    return str(printable(text))
