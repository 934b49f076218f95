"""What people chose as a name is shown as it is, whatever it looks like to a terminal."""

import pytest

from raymu.console import Screen
from raymu.core.verdict import Check, Verdict, fails
from raymu.errors import UnknownSamples
from raymu.service.requests import Answer
from raymu.service.verify.verification import Verification


@pytest.mark.parametrize("name", ["runs/[old]", "[/bold]", ":cat:", "[link=x]"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], name: str) -> None:
    screen = Screen()
    screen.say(f"wrote {name}")
    screen.answers([Answer(refusal=UnknownSamples([name], 1))])
    check = Check(name="files", checked=1, findings=(fails(f"{name} is missing"),))
    screen.verification(Verification(verdict=Verdict.FAIL, generation=1, anchor=None, checks=(check,)))
    shown = capsys.readouterr().out
    assert f"wrote {name}\n" in shown
    assert f"1 unknown sample id ({name})" in shown
    assert f"files: fail: {name} is missing" in shown


def test_an_anchor_is_shown_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    anchor = f"12345678901:{'0' * 200}"
    Screen().verification(Verification(verdict=Verdict.PASS, generation=1, anchor=anchor, checks=()))
    assert anchor in capsys.readouterr().out.splitlines()
