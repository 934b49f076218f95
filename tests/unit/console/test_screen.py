"""Names are shown as they are, even if they look like markup; receipts say how a patch became exact."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from raymu.console.request_tables import show_outcomes, show_receipt
from raymu.console.run_tables import show_verification
from raymu.console.screen import Screen
from raymu.core.findings import FindingKind
from raymu.core.receipt import Receipt
from raymu.core.records import Exactness
from raymu.core.verdict import Check, Verdict, fails
from raymu.errors import UnknownSamples
from raymu.service.requests.outcomes import Outcome
from raymu.service.requests.revocation import SubmissionResult
from raymu.service.verify.verify import Verification


@pytest.mark.parametrize("name", ["runs/[old]", "[/bold]", ":cat:", "[link=x]"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], name: str) -> None:
    screen = Screen()
    screen.print(f"wrote {name}")
    show_outcomes(screen, [Outcome(result=SubmissionResult(refusal=UnknownSamples([name], 1)), row=1)])
    check = Check(name="files", checked=1, findings=(fails(FindingKind.FILE, f"{name} is missing"),))
    show_verification(screen, Verification(verdict=Verdict.FAIL, generation=1, anchor=None, checks=(check,)))
    shown = capsys.readouterr().out
    assert f"wrote {name}\n" in shown
    assert f"1 unknown sample id ({name})" in shown
    assert f"files: fail: {name} is missing" in shown


def test_an_anchor_is_shown_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    anchor = f"12345678901:{'0' * 200}"
    show_verification(Screen(), Verification(verdict=Verdict.PASS, generation=1, anchor=anchor, checks=()))
    assert anchor in capsys.readouterr().out.splitlines()


def test_a_receipt_says_when_a_patched_shard_became_exact(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    patched = Receipt(
        request_id="r1",
        hashes=(),
        strategy="dpus",
        boundary="0.35",
        samples=1,
        received_at=at,
        due_at=at,
        accepted_at=at,
        generation_before=1,
        manifest_before="",
        published_at=at + timedelta(seconds=1),
        exactness=Exactness.APPROXIMATE,
    )
    show_receipt(Screen(), patched)
    assert "1 sample, approximate: published after 1 s\n" in capsys.readouterr().out
    show_receipt(Screen(), replace(patched, exactness=Exactness.EXACT, settled_at=at + timedelta(seconds=9)))
    assert "1 sample, exact: published after 1 s, settled after 9 s\n" in capsys.readouterr().out
