"""The progress of counted work: its phases before it is known how much there is, and its count."""

import io

import pytest
from rich.console import Console

from raymu.console.count_view import CountView
from raymu.console.progress import phase_progress
from raymu.service.phase import begin_phase


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def drawn(view: CountView, *, width: int = 80) -> str:
    console = Console(width=width, force_terminal=True, file=io.StringIO(), record=True)
    console.print(view)
    [line] = console.export_text().splitlines()
    return line.rstrip()


def test_before_there_is_something_to_count_the_phase_is_shown() -> None:
    clock = Clock()
    view = CountView("models", clock)
    clock.now_s = 3.0
    assert drawn(view) == "starting: 0:00:03"
    view.begin_setup("reading the samples")
    clock.now_s = 5.0
    assert drawn(view) == "reading the samples: 0:00:02"


def test_the_count_advances_and_its_clock_starts_with_it() -> None:
    clock = Clock()
    view = CountView("models", clock)
    clock.now_s = 60.0
    view.count(0, 78)
    assert drawn(view, width=30) == "0 of 78 models after 0:00:00"
    view.begin_phase("shard 1: oracles")
    view.begin_setup("waiting for the first stage")
    clock.now_s = 64.0
    view.count(3, 78)
    assert drawn(view, width=50) == "3 of 78 models after 0:00:04: shard 1: oracles"
    assert drawn(view).endswith("3 of 78 models after 0:00:04: shard 1: oracles")
    view.count(78, 78)
    view.begin_setup("comparing")
    assert drawn(view, width=42) == "78 of 78 models after 0:00:04: comparing"


@pytest.mark.parametrize("width", [60, 66, 72, 80, 100, 160])
def test_the_bar_makes_room_for_the_phase(width: int) -> None:
    view = CountView("models", Clock())
    view.count(22, 26)
    view.begin_phase("shard 2: shadow models")
    assert drawn(view, width=width).endswith("22 of 26 models after 0:00:00: shard 2: shadow models")


@pytest.mark.parametrize("width", [20, 40, 72, 160])
def test_the_line_never_outgrows_the_terminal(width: int) -> None:
    view = CountView("models", Clock())
    view.count(7, 1000)
    view.begin_phase("a phase with a long name " * 5)
    assert len(drawn(view, width=width)) <= width


def test_without_a_terminal_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with phase_progress("models", is_shown=True) as (count, phase):
        begin_phase("reading")
        count(0, 2)
        phase("training")
        count(2, 2)
    assert capsys.readouterr() == ("", "")
