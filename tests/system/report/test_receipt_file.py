"""Receipts in files that people keep: the PDF is read by another program, and the page is well-formed."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from raymu.cli import run_command
from raymu.core.receipt import Receipt
from raymu.report.receipt_document import read_receipts
from raymu.report.receipt_pdf import receipts_pdf
from raymu.service.status import signed_receipts
from tests.support.trained_runs import RunTemplates, TrainedRun

pytest.importorskip("fpdf")
pypdf = pytest.importorskip("pypdf")


@pytest.fixture
def run(run_templates: RunTemplates, tmp_path: Path) -> TrainedRun:
    return run_templates.copy(tmp_path / "run")


def text_of(pdf: bytes) -> str:
    """Return the text of a PDF file without line breaks, which long hashes have."""
    return " ".join(" ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages).split())


def joined(text: str) -> str:
    return text.replace(" ", "")


def revoked(run: TrainedRun, *, is_settled: bool) -> Receipt:
    """Revoke two samples by a patch."""
    receipt = run.revoke(run.ids(shard=0)[:2], strategy="dpus")
    if is_settled:
        run.settle()
    return receipt


def test_both_files_say_what_was_done_and_how_to_check_it(run: TrainedRun, tmp_path: Path) -> None:
    request_id = revoked(run, is_settled=True).request_id
    out = tmp_path / "receipts.html"
    words = ["receipts", str(tmp_path / "run"), "--html", str(out), "--pdf", str(tmp_path / "receipts.pdf")]
    assert run_command(words)[0] == 0
    page = " ".join("".join(ElementTree.fromstring(out.read_text()).itertext()).split())
    pdf = text_of((tmp_path / "receipts.pdf").read_bytes())
    document = signed_receipts(run.store, [request_id])[-1]
    for text in (page, pdf):
        for word in (
            *(request_id, "first patched, which is approximate, and settled later", "raymu verify RUN", "settled by"),
            f"raymu receipts RUN --request {request_id} --attest FOLDER",
        ):
            assert word in text
        for code in (document["signature"], document["ledger"]["previous_sha256"], document["manifest_after"]):
            assert code in joined(text)
    assert "<script" not in out.read_text()


def test_a_patch_is_approximate_until_it_is_settled_and_the_file_may_change(run: TrainedRun) -> None:
    revoked(run, is_settled=False)
    [document] = read_receipts(run.store, now=datetime.now(UTC))
    text = text_of(receipts_pdf([document]))
    assert (document.is_final, "Approximate: a shard is only patched" in text, "may change" in text) == (
        False,
        True,
        True,
    )
    assert "Exact" not in text


def test_the_file_of_a_receipt_that_is_final_comes_out_the_same(run: TrainedRun) -> None:
    revoked(run, is_settled=True)
    now = datetime.now(UTC)
    files = {receipts_pdf(read_receipts(run.store, now=now + timedelta(days=days))) for days in (0, 90)}
    assert len(files) == 1


def test_only_the_requests_that_were_looked_for_are_written(
    run: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = revoked(run, is_settled=False)
    sample = run.ids(shard=1)[0]
    second = run.revoke([sample], strategy="sisa")
    out = tmp_path / "one.pdf"
    assert run_command(["receipts", str(tmp_path / "run"), "--id", str(sample), "--pdf", str(out), "--json"])[0] == 0
    assert json.loads(capsys.readouterr().out)["files"] == [
        {"out": str(out), "format": "pdf", "requests": 1, "issued": 1}
    ]
    text = text_of(out.read_bytes())
    assert (second.request_id in text, first.request_id in text) == (True, False)


@pytest.mark.parametrize(
    ("option", "file", "line"),
    [
        ("--pdf", "receipts.html", "is of no known format"),
        ("--html", "run/receipts.html", "is in the run's directory"),
        ("--html", "missing/receipts.html", "is not a directory"),
        ("--pdf", "receipts.pdf", "no request has been made yet"),
    ],
)
def test_nothing_is_written_where_it_cannot_be(
    run_templates: RunTemplates, tmp_path: Path, option: str, file: str, line: str
) -> None:
    run_templates.copy(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    code, error = run_command(["receipts", str(tmp_path / "run"), option, str(tmp_path / file)])
    assert (code, line in str(error)) == (2, True), error
    assert sorted(tmp_path.rglob("*")) == before
