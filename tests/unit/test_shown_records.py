"""Records in a notebook: one short line, or a small table, with nothing that a request names."""

from pathlib import Path

import pytest

from raymu.api import Run
from raymu.core.verdict import Verdict
from raymu.service.verify.verify import Verification
from tests.support.audit_documents import audit_of_many
from tests.support.shown_results import a_forecast, a_receipt, a_status, a_tuning
from tests.support.snapshot_reports import snapshot_report

RECORDS = (
    a_receipt(),
    a_forecast(),
    a_status(),
    a_tuning(),
    audit_of_many(3),
    snapshot_report(),
    Verification(verdict=Verdict.PASS, generation=3, anchor="12:" + "ab" * 32, checks=()),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_shown_in_one_short_line_and_as_a_small_table(record: object) -> None:
    line, table = repr(record), record._repr_html_()  # type: ignore[attr-defined]
    assert line.startswith(f"{type(record).__name__}(")
    assert len(line) < 500
    assert "\n" not in line
    assert table.startswith("<table>")
    assert "ab" * 32 not in line + table


def test_a_receipt_says_what_matters() -> None:
    assert repr(a_receipt()) == (
        "Receipt(request 20261201T231219-3951540b4644, samples 944990, result approximate, shards 3, "
        "due 2026-12-31 23:12 UTC, exact since not yet)"
    )
    assert "<th>result</th><td>approximate</td>" in a_receipt()._repr_html_()


def test_a_run_is_one_line_without_reading_it(tmp_path: Path) -> None:
    assert repr(Run(str(tmp_path / "letter"))) == "Run(name letter)"
    assert list(tmp_path.iterdir()) == []
