"""Words, names and durations of messages."""

import pytest

from raymu.text import duration, durations, forecast_range, short_names


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3.7e-5, "0.037 ms"),
        (3.7e-9, "0.0000037 ms"),
        (0.017, "17 ms"),
        (0.31, "0.31 s"),
        (12.44, "12.4 s"),
        (200.0, "3 min 20 s"),
        (-2.0, "-2 s"),
    ],
)
def test_durations_have_a_suitable_unit_and_no_exponent(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_durations_of_one_column_share_their_unit_and_decimals() -> None:
    assert durations([0.283, 0.939, 1.63]) == ("0.28 s", "0.94 s", "1.63 s")
    assert durations([40.7, 0.333]) == ("40.70 s", "0.33 s")
    assert durations([0.017, 0.0532, 0.0]) == ("17 ms", "53 ms", "0 ms")
    assert durations([]) == ()
    assert durations([0.004, 200.0]) == ("4 ms", "3 min 20 s"), "these differ too much"


@pytest.mark.parametrize(
    ("low_s", "high_s", "text"),
    [
        (0.017, 0.053, "17 to 53 ms"),
        (0.064, 0.257, "64 ms to 0.26 s"),
        (1.21, 3.3, "1.2 to 3.3 s"),
        (3.7e-5, 1.5e-4, "0.037 to 0.15 ms"),
        (0.0284, 0.711, "uncertain, up to 0.71 s"),
        (1.0, 1227.96, "uncertain, up to 20 min 28 s"),
        (100.0, 200.0, "1 min 40 s to 3 min 20 s"),
    ],
)
def test_a_range_that_is_wider_than_ten_times_is_called_uncertain(low_s: float, high_s: float, text: str) -> None:
    assert forecast_range(low_s, high_s) == text


def test_short_names_stay_different() -> None:
    names = ["20261201T231219-39", "20261201T231226-6b", "20261201T231226-6c"]
    assert short_names(names)[names[1]] == "20261201T231226-6b"
    assert short_names(["310c91cdebe4", "4faec7f67cb4", "4faec7f67cb4"]) == {
        "310c91cdebe4": "310c91cd",
        "4faec7f67cb4": "4faec7f6",
    }
    assert short_names(["abcdefghi", "abcdefghijkl"])["abcdefghijkl"] == "abcdefghij"
    assert short_names([]) == {}
