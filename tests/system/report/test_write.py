import json
from contextlib import suppress
from pathlib import Path

import pytest

from raymu.api import Run, open_run
from raymu.core.verdict import Verdict
from raymu.errors import RaymuError, RequestInvalid, ShardRepairFailed
from raymu.report.write import write_report
from raymu.store.run import RunStore
from tests.support.audit_documents import audit_report
from tests.support.coordinated_run import ids_at, lineage_of, opened
from tests.support.examples import create_run, file_size_limit, make_config, write_samples
from tests.support.scripted_fleet import ScriptedFleet


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_samples(tmp_path / "all.parquet")
    create_run(make_config(tmp_path / "all.parquet", partition={"shards": 1}), tmp_path / "run")
    return open_run(tmp_path / "run")


def test_a_page_has_the_requested_parts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text(json.dumps(run.audit_document(audit_report(generation=1, request_ids=()))))
    data, out = str(tmp_path / "all.parquet"), tmp_path / "page.html"
    written = write_report(run, out, data=data, is_verified=True, audits=[tmp_path / "audit.json"])
    assert (written.generation, written.requests, written.late, written.out) == (1, 0, 0, str(out))
    assert written.verdict is Verdict.PASS
    page = out.read_text()
    assert f"{run.evaluate_file(data).accuracy:.2%}" in page
    assert "Audit of generation 1; signed by the run's key." in page.replace("&#39;", "'")
    assert "auc" in page
    assert write_report(run, out).verdict is None
    assert "auc" not in out.read_text()


@pytest.mark.parametrize(
    ("audit", "out", "complaint"),
    [
        ("absent.json", "page.html", "cannot be read"),
        ("broken.json", "page.html", "is not JSON"),
        ("binary.json", "page.html", "is not JSON"),
        ("empty.json", "page.html", "is not an audit"),
        ("list.json", "page.html", "is not an audit"),
        ("good.json", "nowhere/page.html", "cannot be written"),
    ],
)
def test_what_cannot_be_read_or_written_is_refused(
    run: Run, tmp_path: Path, audit: str, out: str, complaint: str
) -> None:
    (tmp_path / "broken.json").write_text('{"auc": ')
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.json").write_text('{"verdict": "pass"}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "good.json").write_text("{}")
    with pytest.raises(RequestInvalid, match=complaint):
        write_report(run, tmp_path / out, audits=[tmp_path / audit])
    assert not (tmp_path / out).exists()


def test_a_page_for_which_the_disk_is_full_leaves_the_one_before(run: Run, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("the page of last month")
    with file_size_limit(4000), pytest.raises(RequestInvalid, match=r"page\.html: cannot be written"):
        write_report(run, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "the page of last month"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.parquet", "page.html", "run"]


@pytest.mark.parametrize("out", ["all.parquet", "audit.json", "run/run.json", "run/page.html"])
def test_a_page_does_not_overwrite_needed_files(run: Run, tmp_path: Path, out: str) -> None:
    (tmp_path / "audit.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RequestInvalid, match=r"would be overwritten|in the run's directory"):
        write_report(run, tmp_path / out, data=str(tmp_path / "all.parquet"), audits=[tmp_path / "audit.json"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_without_voters_has_a_page_that_says_so(run: Run, tmp_path: Path) -> None:
    ids = ids_at(run.config, shard=0, slice_index=0)[:1]
    fleet = ScriptedFleet(RunStore(run.location), fail_after=0)
    with suppress(ShardRepairFailed), opened(Path(run.location), fleet) as broken:
        broken.revoke(ids, strategy="sisa")
    write_report(run, tmp_path / "page.html", data=str(tmp_path / "all.parquet"))
    page = (tmp_path / "page.html").read_text()
    assert "No shard votes at the moment" in page
    assert "1 shard abstaining" in page


def test_a_damaged_run_has_a_page_whose_verdict_says_so(run: Run, tmp_path: Path) -> None:
    (Path(run.location) / lineage_of(Path(run.location), 0).serving.file.path).unlink()
    written = write_report(run, tmp_path / "page.html", is_verified=True)
    assert written.verdict is Verdict.FAIL
    page = (tmp_path / "page.html").read_text()
    assert "Verification fails" in page
    assert "is missing" in page
    assert str(tmp_path) not in page


def test_a_run_that_has_lost_its_served_files_has_no_page(run: Run, tmp_path: Path) -> None:
    (Path(run.location) / "generations" / "00000001.json").unlink()
    with pytest.raises(RaymuError):
        write_report(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
