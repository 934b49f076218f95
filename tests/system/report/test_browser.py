"""The report in a browser: nothing for axe to find, no page that is too wide or too long, and a keyboard that reaches all."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raymu.report.load import RunRecord
from raymu.report.page import render
from raymu.report.view import view_of
from raymu.store.codec import to_tree
from tests.support.audit_documents import audit_of_many
from tests.support.browser import WIDTHS, axe_findings, chromium, overflow, printed_pages, unreached
from tests.support.request_records import with_many_requests
from tests.support.snapshot_reports import snapshot_report


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def full_record(plain_record: RunRecord) -> RunRecord:
    """The record of a run with everything that a page can show."""
    return replace(
        plain_record,
        audit=to_tree(audit_of_many(2)),
        audit_source="audit of generation 7; not signed",
        snapshots=to_tree(snapshot_report()),
        snapshots_source="audit with two snapshots of generation 7; not signed",
    )


@pytest.fixture(scope="module")
def address(full_record: RunRecord, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(full_record, tmp_path_factory.mktemp("page") / "report.html")


def written(record: RunRecord, file: Path) -> str:
    file.write_text(render(view_of(record)), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize(
    ("scheme", "checked"),
    [
        pytest.param("dark", WIDTHS[:1], id="dark"),
        pytest.param("light", WIDTHS, marks=pytest.mark.nightly, id="light"),
    ],
)
def test_axe_finds_nothing_and_no_width_needs_scrolling(
    browser: Any, address: str, scheme: str, checked: tuple[int, ...]
) -> None:
    page = browser.new_page(color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.goto(address)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert overflow(page) == 0, width
        if width in checked:
            assert axe_findings(page) == []
    assert problems == []
    page.close()


def test_a_telephone_shows_the_auc_of_two_snapshots_without_scrolling(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(address)
    columns = page.locator("[aria-labelledby=snapshots-title] tbody tr:first-child > *")
    assert columns.count() == 5
    auc = columns.nth(2).bounding_box()
    assert auc["x"] + auc["width"] < 390
    page.close()


def test_the_keyboard_reaches_everything(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(address)
    assert unreached(page) == []
    page.close()


def test_printed_on_a4_receipts_keep_their_hashes_and_the_whole_audit_stays_folded(
    browser: Any, address: str, full_record: RunRecord, tmp_path: Path
) -> None:
    page = browser.new_page()
    page.goto(address)
    assert 5 <= printed_pages(page, tmp_path / "report.pdf") <= 20
    page.emulate_media(media="print")
    issued = next(iter(full_record.issued.values()))
    signature = page.get_by_text(issued.signature)
    assert signature.count() == 1
    assert signature.evaluate("(each) => each.checkVisibility({contentVisibilityAuto: true})")
    assert page.get_by_role("heading", name="Two snapshots").is_visible()
    assert not page.locator(".audit").evaluate("(each) => each.checkVisibility({contentVisibilityAuto: true})")
    page.close()


@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.nightly)])
def test_a_page_of_many_requests_stays_short(browser: Any, full_record: RunRecord, tmp_path: Path, count: int) -> None:
    address = written(with_many_requests(full_record, count), tmp_path / "report.html")
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(address)
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height < 16_000
    assert overflow(page) == 0
    page.close()


@pytest.mark.nightly
@pytest.mark.parametrize("count", [600, 20_000])
def test_many_requests_are_printed_on_few_sheets(
    browser: Any, full_record: RunRecord, tmp_path: Path, count: int
) -> None:
    page = browser.new_page()
    page.goto(written(with_many_requests(full_record, count), tmp_path / "report.html"))
    assert printed_pages(page, tmp_path / "report.pdf") <= 120
    page.close()
