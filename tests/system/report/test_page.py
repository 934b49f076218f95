"""The whole page: one well-formed, self-contained file that names no person."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.config.limits import check_tree
from raymu.config.unlearning import Strategy
from raymu.core.events import Event, RevocationsAccepted, RunTrained
from raymu.core.verdict import LastVerdict, Verdict
from raymu.errors import ConfigInvalid
from raymu.report.load import Measurement, RunRecord, read_run
from raymu.report.page import render
from raymu.report.request_groups import LATEST
from raymu.report.requests import DeadlineStatus
from raymu.report.view import view_of
from raymu.store.codec import to_tree
from tests.support.audit_documents import audit_of_many, audit_tree
from tests.support.golden_journals import GOLDEN
from tests.support.trained_runs import TrainedRunFactory

SECTIONS = (
    "summary", "deadlines", "training", "grid", "requests", "forecasts", "accuracy", "verification", "audit", "glossary"
)  # fmt: skip
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&\x00"
AUDIT = {
    "verdict": None,
    "attacks": [{"name": "loss", "auc": 0.51234, "is_done": True}, {"name": "lira", "auc": 0.5, "is_done": False}],
    "together": {"worst": [{"row": 987654, "keyed_hash": "ab" * 32, "shard": 0}]},
    "notes": [1, [2, [3, [4, [5, [6, [7, [8]]]]]]], {"a": {}}],
    HOSTILE: HOSTILE,
}


@pytest.fixture(scope="module")
def record(plain_record: RunRecord) -> RunRecord:
    """The record of a run with requests of every state, and with an audit."""
    return replace(plain_record, audit=AUDIT, audit_source="audit of generation 7; the run serves 9; not signed")


@pytest.fixture(scope="module")
def page(record: RunRecord) -> str:
    return render(view_of(record))


def elements(page: str) -> list[ElementTree.Element]:
    """Return the elements of a page. Raises ParseError if it is not well-formed."""
    return list(ElementTree.fromstring(page).iter())


def text_of(page: str) -> str:
    return "".join(ElementTree.fromstring(page).itertext())


class Tags(HTMLParser):
    """Collects every tag, as a browser reads it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_every_section_exists_and_has_a_title(page: str) -> None:
    ids = [element.get("id") for element in elements(page) if element.get("id")]
    assert len(ids) == len(set(ids))
    assert [element.get("id") for element in elements(page) if element.tag == "section"] == list(SECTIONS)
    assert [element.get("id") for element in elements(page) if element.tag == "h2"] == [
        f"{name}-title" for name in SECTIONS
    ]
    assert sum(element.tag == "h1" for element in elements(page)) == 1


def test_links_have_targets_on_the_page(page: str) -> None:
    ids = {element.get("id") for element in elements(page)}
    links = [element.get("href") for element in elements(page) if element.get("href")]
    assert len(links) > len(SECTIONS)
    assert {link for link in links if link} <= {f"#{name}" for name in ids}


def test_the_page_loads_no_other_file_and_runs_no_script(page: str) -> None:
    assert not re.search(r"(https?:)?//|url\(|@import", page)
    tags = Tags(page).seen
    assert not {"script", "link", "iframe", "img", "object", "form", "base"} & {tag for tag, _ in tags}
    names = {name for _, attributes in tags for name in attributes}
    assert not {"src", "srcset", "action", "data"} & names
    assert not any(name.startswith("on") for name in names)


def test_the_page_shows_every_request_with_its_receipt(record: RunRecord, page: str) -> None:
    assert len(record.receipts) == 6
    shown = text_of(page)
    for receipt in record.receipts:
        [body] = [element for element in elements(page) if element.get("id") == f"r-{receipt.request_id}"]
        text = "".join(body.itertext())
        assert all(hashed in text for hashed in receipt.hashes)
        assert all(part.reason in text for part in receipt.shards)
        assert receipt.request_id in shown
    assert sum(element.tag == "details" and element.get("class") == "request" for element in elements(page)) == 6


def test_no_sample_owner_or_path_is_named(record: RunRecord, page: str) -> None:
    assert "sample-" not in page
    assert "owner-" not in page
    assert "987654" not in page  # the row number in an audit of version 0.1
    assert "ab" * 32 in page
    place = str(Path(record.manifest.config["data"]["train"]).parent)
    assert place not in page
    assert "all.parquet" in page
    assert "Audit of generation 7; the run serves 9; not signed." in text_of(page)


def test_an_audit_that_repeated_the_remedy_has_a_figure_and_the_rest_folded(record: RunRecord) -> None:
    page = render(view_of(replace(record, audit=audit_tree())))
    bars = [element for element in elements(page) if "bar" in (element.get("class") or "").split()]
    assert ["".join(bar.itertext()).strip() for bar in bars][3] == "other seed (floor)0.20"
    assert "All audited requests together: it forgets." in " ".join(text_of(page).split())
    assert "patch and fine-tune, repeated 8 times" in text_of(page)
    assert "The whole audit" in text_of(page)
    for each in (page, render(view_of(record))):  # whatever the document has
        [folded] = [element for element in elements(each) if "whole" in (element.get("class") or "").split()]
        assert (folded.tag, folded.get("open")) == ("details", None)


def test_an_audit_has_a_table_of_verdicts_and_says_what_two_generations_finds(record: RunRecord) -> None:
    audit = to_tree(audit_of_many(600))
    page = render(view_of(replace(record, audit=audit)))
    [section] = [element for element in elements(page) if element.get("id") == "audit"]
    open_text = " ".join(" ".join(without_folded(section).itertext()).split())
    assert (
        "fail 1 request fails by itself. All audited requests together: pass, the served model cannot be told"
        in open_text
    )
    assert "20261201T231219-000000000001 fail 4 0.01 (-0.03 to 0.05) 0.448 0.448 0.620" in open_text
    assert "And 580 requests more, in the whole audit below." in open_text
    assert "two generations 0.82 (0.62 to 0.92) 0.89 (0.70 to 0.97) 0.50 (0.30 to 0.70)" in open_text
    assert "finds that something was deleted" in open_text
    assert len(open_text) < 8000
    assert "keyed hash" not in open_text


def without_folded(section: ElementTree.Element) -> ElementTree.Element:
    """Return a section without what is closed at first."""
    kept = deepcopy(section)
    for parent in list(kept.iter()):
        for child in list(parent):
            if child.tag == "details" and child.get("open") is None:
                parent.remove(child)
    return kept


def test_six_hundred_requests_make_a_page_of_bounded_length(record: RunRecord) -> None:
    [some] = [receipt for receipt in record.receipts if receipt.due_met is False and receipt.is_exact]
    receipts = tuple(
        replace(
            some,
            request_id=f"20301201T000000-{number:012x}",
            received_at=some.received_at - timedelta(days=600 - number),
            due_at=some.due_at if number % 3 else some.settled_at or some.due_at,
        )
        for number in range(600)
    )
    page = render(view_of(replace(record, receipts=receipts, status=replace(record.status, deadlines=()))))
    [section] = [element for element in elements(page) if element.get("id") == "requests"]
    months = [element for element in section.iter("details") if "folded" in (element.get("class") or "").split()]
    assert 18 <= len(months) <= 21
    assert sum(element.get("class") == "request" for element in section.iter("details")) == LATEST
    ids = {element.get("id") for element in elements(page)}
    assert {f"r-{receipt.request_id}" for receipt in receipts} <= ids
    assert len(page) < 1_500_000


def test_a_receipt_has_what_is_needed_to_file_and_to_check_it(record: RunRecord, page: str) -> None:
    [first, *_] = record.receipts
    issued = record.issued[first.request_id]
    [receipt] = [element for element in elements(page) if element.get("id") == f"r-{first.request_id}"]
    text = "".join(receipt.itertext())
    assert issued.sha256 in text
    assert issued.previous_sha256 in text
    assert issued.signature in text
    assert record.key_fingerprint
    assert record.key_fingerprint in text
    assert "raymu verify RUN" in text


def test_print_keeps_hashes_and_leaves_the_whole_audit_folded(page: str) -> None:
    printed = page[page.index("@media print") :]
    assert "details:not(.whole, .folded)::details-content { content-visibility: visible" in printed
    assert "hashes" not in printed[: printed.index("</style>")]


def test_the_glossary_has_every_strategy_and_every_check(record: RunRecord, page: str) -> None:
    [section] = [element for element in elements(page) if element.get("id") == "glossary"]
    terms = {"".join(element.itertext()) for element in section.iter("dt")}
    assert set(Strategy) <= terms
    assert record.verification
    assert {f"check: {check.name}" for check in record.verification.checks} <= terms


def test_an_audit_of_version_0_1_is_shown_without_its_row_numbers(record: RunRecord) -> None:
    audit = json.loads((GOLDEN / "0.1" / "audit.json").read_text())
    worst = audit["together"]["worst"]
    assert all("row" in sample for sample in worst)
    page = render(view_of(replace(record, audit=audit)))
    [section] = [element for element in elements(page) if element.get("id") == "audit"]
    shown = [cell.text or "" for cell in section.iter("th")] + [cell.text or "" for cell in section.iter("dt")]
    assert "keyed hash" in shown
    assert "row" not in shown
    assert all(sample["keyed_hash"] in page for sample in worst)


def test_tables_have_headers_with_a_scope(page: str) -> None:
    tables = [element for element in elements(page) if element.tag == "table"]
    assert len(tables) > 5
    for table in tables:
        heads = list(table.iter("th"))
        assert heads
        assert all(head.get("scope") in ("col", "row", "colgroup") for head in heads)


def test_no_state_is_shown_by_colour_alone(record: RunRecord, page: str) -> None:
    cells = [element for element in elements(page) if "cell" in (element.get("class") or "").split()]
    assert len(cells) == sum(lineage.slices for lineage in record.generation.lineages)
    states = {"sound", "touched", "tainted", "destroyed"}
    for cell in cells:
        [state] = states & set((cell.get("class") or "").split())
        assert state in "".join(cell.itertext())
    for chip in (element for element in elements(page) if "chip" in (element.get("class") or "").split()):
        assert "".join(chip.itertext()).strip()


def test_the_summary_counts_what_the_receipts_say(record: RunRecord) -> None:
    view = view_of(record)
    assert (view.summary.requests, view.summary.under_way, view.summary.unpurged) == (6, 1, 1)
    assert view.summary.exact + view.summary.approximate + view.summary.under_way == 6
    assert view.summary.samples_revoked == sum(receipt.samples for receipt in record.receipts)
    assert (view.summary.late, view.summary.missed, len(view.missed)) == (1, 1, 1)
    assert view.deadlines[0].deadline_status is DeadlineStatus.OVERDUE
    assert [request.receipt.request_id for request in view.requests.shown] == [
        receipt.request_id for receipt in reversed(record.receipts)
    ]
    assert [incident.description for incident in view.incidents] == [
        "a repair of shard 0 failed; its requests stayed accepted"
    ]


def test_the_page_says_what_was_trained_measured_and_verified(record: RunRecord, page: str) -> None:
    shown = " ".join(text_of(page).split())
    view = view_of(record)
    samples = {fact: value for group in view.training for fact, value in group.facts.items()}
    trained = next(event for event in record.events if isinstance(event, RunTrained))
    assert samples["samples"] == str(sum(lineage.samples for lineage in trained.lineages)) == "240"
    assert samples["retained"] == str(sum(lineage.samples for lineage in record.generation.lineages))
    assert samples["torch"] in shown
    assert view.accuracy.latest is not None
    assert f"{view.accuracy.latest.accuracy:.2%}" in shown
    assert record.verification is not None
    assert all(check.name in shown for check in record.verification.checks)
    assert record.verification.anchor is not None
    assert record.verification.anchor in shown
    assert "0.5123" in shown
    assert "[8]" in shown  # too deep to be laid out


def test_the_last_verification_is_shown_with_its_time_and_generation_unless_this_one_is(record: RunRecord) -> None:
    at = datetime(2026, 11, 30, 9, 15, tzinfo=UTC)
    last = LastVerdict(run=record.manifest.run_id, check="verify", verdict=Verdict.FAIL, generation=1, at=at)
    audited = replace(last, check="audit", verdict=Verdict.PASS, generation=record.generation.number)
    kept = replace(record, verification=None, last_verdicts=(last, audited))
    text = " ".join(text_of(render(view_of(kept))).split())
    assert "fail on 2026-11-30 09:15" in text
    assert f"of generation 1; generation {record.generation.number} is served now" in text
    assert "Verification fails" in text
    assert "The last audit: pass on 2026-11-30 09:15" in text
    verified = text_of(render(view_of(replace(kept, verification=record.verification))))
    assert "That is how raymu verify ended last" not in verified
    assert "Not done." in text_of(render(view_of(replace(kept, last_verdicts=()))))


def test_a_run_without_requests_has_a_page_too(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    shown = text_of(render(view_of(read_run(run.store, now=datetime.now(UTC)))))
    assert "No request has been made yet" in shown
    assert "Nothing is owed" in shown
    assert "not measured" in shown


def is_refused(letter: str) -> bool:
    """Whether settings refuse a letter: most control characters, and halves of characters."""
    try:
        check_tree(letter)
    except ConfigInvalid:
        return True
    return False


def hostile(record: RunRecord, text: str) -> RunRecord:
    """The same record, with a hostile text in every field that a user or a file can set."""
    setting = "".join(letter for letter in text if not is_refused(letter))  # settings have no such letters
    config: dict[str, Any] = {
        **record.manifest.config,
        "data": {**record.manifest.config["data"], "train": setting or "a", "test": setting or "a"},
        "model": {"name": "mlp", "args": {setting: setting}},
    }
    assert record.verification is not None
    check = record.verification.checks[0]
    finding = replace(record.verification.checks[4].findings[0], what=text)
    return replace(
        record,
        name=text,
        manifest=replace(record.manifest, config=config),
        receipts=tuple(
            replace(
                receipt,
                strategy=text,
                boundary=text,
                hashes=(text,),
                shards=tuple(replace(part, reason=text) for part in receipt.shards),
            )
            for receipt in record.receipts
        ),
        measured=Measurement(file=text, evaluation=record.measured.evaluation if record.measured else None),
        verification=replace(record.verification, checks=(replace(check, findings=(finding,)),)),
        audit={text: [text, {text: text}]},
    )


def renamed(events: tuple[Event, ...], names: dict[str, str]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, RevocationsAccepted):
            requests = tuple(replace(request, request_id=names[request.request_id]) for request in event.requests)
            yield replace(event, requests=requests)
        else:
            yield event


def test_hostile_texts_are_shown_and_do_nothing(record: RunRecord) -> None:
    page = render(view_of(hostile(record, HOSTILE)))
    assert_harmless(page)
    assert "<script>alert(1)</script>" in text_of(page)  # as text, to be read


def test_a_hostile_request_id_stays_text(record: RunRecord) -> None:
    names = {receipt.request_id: f"{HOSTILE}{number}" for number, receipt in enumerate(record.receipts)}
    page = render(
        view_of(
            replace(
                record,
                receipts=tuple(replace(receipt, request_id=names[receipt.request_id]) for receipt in record.receipts),
                events=tuple(renamed(record.events, names)),
                status=replace(record.status, deadlines=()),
            )
        )
    )
    assert_harmless(page)
    assert text_of(page).count("<script>alert(1)</script>") >= len(names)


def assert_harmless(page: str) -> None:
    tags = Tags(page).seen
    assert not {"script", "img"} & {tag for tag, _ in tags}
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)


@given(text=st.text(max_size=12))
def test_a_page_with_any_texts_is_well_formed(record: RunRecord, text: str) -> None:
    page = render(view_of(hostile(record, text)))
    assert page.encode()
    assert [element.get("id") for element in elements(page) if element.tag == "section"] == list(SECTIONS)


def test_a_missed_deadline_never_stands_under_a_green_sign(record: RunRecord) -> None:
    [missed] = view_of(record).missed
    settled = replace(
        record,
        receipts=tuple(each for each in record.receipts if each.request_id == missed.receipt.request_id),
        status=replace(record.status, deadlines=()),
    )
    page = render(view_of(settled))
    [banner] = [element for element in elements(page) if "banner" in (element.get("class") or "").split()]
    assert banner.get("class") == "banner approximate"
    assert "1 request became exact only after its due date" in " ".join("".join(banner.itertext()).split())
    [tile] = [
        element
        for element in elements(page)
        if element.tag == "div" and "exact too late" in "".join(element.itertext())
    ]
    assert "".join(tile.itertext()).strip().endswith("late1")
