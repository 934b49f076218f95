"""A measurement with two snapshots on the page of a run: the report's, and that of the service."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

import raymu
from raymu.cli import main
from raymu.cli.group import cli
from raymu.errors import RequestInvalid
from raymu.report.snapshot_summary import snapshot_summary
from raymu.store.codec import to_tree
from raymu.store.run import RunStore
from raymu.web.page_content import PageContent
from tests.support.audit_documents import audit_report
from tests.support.examples import make_config, write_samples
from tests.support.snapshot_reports import snapshot_report

ROW = '<th scope="row">retrained</th><td class="number">16</td><td class="number">0.67 (0.61 to 0.73)</td>'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> raymu.Run:
    folder = tmp_path_factory.mktemp("page")
    write_samples(folder / "all.parquet", samples=80)
    raymu.train(make_config(folder / "all.parquet"), folder / "run").close()
    return raymu.open_run(folder / "run")


def test_the_report_has_a_table_of_the_measurement_and_no_verdict_for_it(run: raymu.Run) -> None:
    page = run.report(audit=snapshot_report(generation=1)).html
    assert ROW in page
    assert "Audit with two snapshots of generation 1; signed by the run's key." in " ".join(page.split()).replace(
        "&#39;", "'"
    )
    assert "one guess among 500 samples" in page
    assert "Not included. <code>raymu report RUN --audit-file" not in page


def test_the_report_shows_it_beside_an_audit_in_any_order_and_refuses_two_of_a_kind(
    run: raymu.Run, tmp_path: Path
) -> None:
    measured, audit = snapshot_report(generation=1), audit_report(generation=1, request_ids=())
    (tmp_path / "measured.json").write_text(json.dumps(run.audit_document(measured)))
    (tmp_path / "audit.json").write_text(json.dumps(run.audit_document(audit)))
    for words in (["measured", "audit"], ["audit", "measured"]):
        options = [word for name in words for word in ("--audit-file", str(tmp_path / f"{name}.json"))]
        written = CliRunner().invoke(cli, ["report", run.location, "--out", str(tmp_path / "page.html"), *options])
        assert written.exit_code == 0, written.output
        page = (tmp_path / "page.html").read_text()
        assert ROW in page
        assert "Audit of generation 1; signed by" in page
        assert "the served model remembers" in page
    assert ROW in run.report(audit=[tmp_path / "audit.json", measured]).html
    for report, name, kind in ((measured, "measured", "audit with two snapshots"), (audit, "audit", "audit")):
        with pytest.raises(RequestInvalid, match=f"{name}.json: is a second {kind}; the page shows one"):
            run.report(audit=[report, str(tmp_path / f"{name}.json")])


@pytest.mark.parametrize(("second", "problem"), [("audit", "is a second audit"), ("measured", "would be overwritten")])
def test_a_second_audit_that_cannot_be_shown_is_refused_in_one_line(
    run: raymu.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    second: str,
    problem: str,
) -> None:
    audit = run.audit_document(audit_report(generation=1, request_ids=()))
    for name, document in (("audit", audit), ("measured", run.audit_document(snapshot_report(generation=1)))):
        (tmp_path / name).write_text(json.dumps(document))
    (tmp_path / "page.html").symlink_to(tmp_path / "measured")
    before = (tmp_path / "measured").read_bytes()
    files = ["--audit-file", str(tmp_path / "audit"), "--audit-file", str(tmp_path / second)]
    out = tmp_path / ("page.html" if second == "measured" else "other.html")
    monkeypatch.setattr(sys, "argv", ["raymu", "report", run.location, "--out", str(out), *files])
    with pytest.raises(SystemExit) as end:
        main()
    error = capsys.readouterr().err
    assert (end.value.code, error.count("\n"), problem in error) == (2, 1, True)
    assert ((tmp_path / "measured").read_bytes(), (tmp_path / "other.html").exists()) == (before, False)


def test_the_page_of_a_service_shows_it_beside_an_audit(run: raymu.Run, tmp_path: Path) -> None:
    measured, audit = snapshot_report(generation=1), audit_report(generation=1, request_ids=())
    (tmp_path / "measured.json").write_text(json.dumps(run.audit_document(measured)))
    (tmp_path / "audit.json").write_text(json.dumps(run.audit_document(audit)))
    store = RunStore(run.location)
    for names in (["measured", "audit"], ["audit", "measured"], ["measured"]):
        content = PageContent({"run": store}, [tmp_path / f"{name}.json" for name in names])
        view = content.run_context("run", datetime.now(UTC))["view"]
        assert view.snapshots is not None
        assert (view.audit is not None) == ("audit" in names)


@pytest.mark.parametrize(
    "tree",
    [
        None,
        {},
        {"rows": []},
        {**to_tree(snapshot_report()), "rows": [*to_tree(snapshot_report())["rows"]] * 9},
        {"changes": 4, "candidates": 5, "rows": [{"name": "<b>"}]},
    ],
)
def test_what_is_no_measurement_is_not_shown_as_one(tree: object) -> None:
    assert snapshot_summary(tree, "a file") is None


def test_a_summary_keeps_all_rows_in_their_order() -> None:
    summary = snapshot_summary(json.loads(json.dumps(to_tree(snapshot_report()))), "a file")
    assert summary is not None
    assert [(row.name, row.group) for row in summary.rows] == [(row.name, row.group) for row in snapshot_report().rows]
