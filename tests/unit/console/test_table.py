"""Tables at any width: nothing is broken in two, names stay different, and narrow terminals get lists."""

import pytest

from raymu.console.screen import Screen, make_table
from tests.support.terminal import faults, rendered

NUMBERS = ("samples", "passes", "compute")


def show(screen: Screen) -> None:
    table = make_table(
        *("request", *NUMBERS, "result", "reason"),
        numbers=NUMBERS,
        unbroken=("result",),
        shortened=("request",),
        title="what was done for each request of a run with a long title that is wider than the table",
    )
    for number in (1, 12345, 944990):
        table.add_row(
            f"20261201T231219-39515{number:07d}",
            f"{number:,}",
            f"{number * 7:,}",
            f"{number} ms",
            "approximate",
            "patch and replay would cost as much as retraining",
        )
    screen.print(table)


@pytest.mark.parametrize("width", [160, 100, 80, 72, 60, 50, 40, 30])
def test_no_number_and_no_word_is_broken_at_any_width(width: int) -> None:
    assert list(faults(show, width)) == []


def test_names_are_shortened_where_it_helps_and_stay_different() -> None:
    at_80, at_60 = "\n".join(rendered(show, 100)), "\n".join(rendered(show, 70))
    assert "20261201T231219-395150000001" in at_80
    assert "20261201T231219-3951500 " not in at_60
    for name in ("20261201T231219-3951500", "20261201T231219-3951509"):
        assert at_60.count(name) >= 1


def test_a_very_narrow_terminal_gets_a_list_for_each_row_with_whole_names() -> None:
    lines = rendered(show, 40)
    assert "request: 20261201T231219-395150944990" in lines
    assert lines.count("result: approximate") == 3
    assert "passes: 6,614,930" in lines


def test_numbers_are_aligned_to_the_right() -> None:
    rows = [line for line in rendered(show, 160) if line.startswith(" 2026")]
    ends = {line.index(" ms") for line in rows}
    assert len(ends) == 1


def test_the_checker_sees_what_is_broken() -> None:
    """A checker that finds nothing is worthless."""

    def broken(screen: Screen) -> None:
        screen.print("a number of 944,990,123,456,789 passes")

    assert list(faults(broken, 12)) == [
        "broken at 12: '944,990,123,' in '944,990,123,'",
        "broken at 12: '456,789' in '456,789'",
    ]


def test_a_table_without_rows_shows_its_headings() -> None:
    assert "request" in "\n".join(rendered(lambda screen: screen.print(make_table("request", "samples")), 80))
