import math

from hypothesis import given
from hypothesis import strategies as st

from raymu.report.charts import Chart, Mark, line_chart, log_chart

costs = st.floats(1e-6, 1e9) | st.just(0.0)
marks = st.builds(Mark, x=costs, y=costs, kind=st.just("retrain"), label=st.just(""))
levels = st.builds(
    Mark, x=st.integers(1, 10**6).map(float), y=st.floats(0.0, 1.0), kind=st.just("tracked"), label=st.just("")
)


def assert_drawable(chart: Chart) -> None:
    for axis in (chart.x_ticks, chart.y_ticks):
        places = [tick.at for tick in axis]
        assert 1 <= len(places) <= 10
        assert places == sorted(set(places))
        assert all(-1e-6 <= place <= 1.0 + 1e-6 for place in places)
    assert all(-1e-6 <= value <= 1.0 + 1e-6 for point in chart.points for value in (point.x, point.y))


@given(st.lists(marks, min_size=1, max_size=20))
def test_costs_are_within_the_plot_and_on_its_diagonal_if_the_forecast_was_right(marks: list[Mark]) -> None:
    chart = log_chart(marks)
    assert_drawable(chart)
    assert chart.x_ticks == chart.y_ticks
    for mark, point in zip(marks, chart.points, strict=True):
        if mark.x > 0.0 and mark.y > 0.0:
            assert math.copysign(1.0, mark.y - mark.x) * (point.y - point.x) >= -1e-9


@given(st.lists(levels, min_size=1, max_size=20))
def test_levels_are_within_the_plot_in_their_order(marks: list[Mark]) -> None:
    chart = line_chart(marks, min_height=0.02)
    assert_drawable(chart)
    by_level = sorted(zip(marks, chart.points, strict=True), key=lambda pair: pair[0].y)
    heights = [point.y for _, point in by_level]
    assert heights == sorted(heights)


def test_noise_does_not_fill_the_plot() -> None:
    steady = [Mark(x=float(number), y=0.9 + 0.001 * (number % 2), kind="tracked", label="") for number in range(1, 5)]
    heights = [point.y for point in line_chart(steady, min_height=0.02).points]
    assert max(heights) - min(heights) < 0.1


def test_ticks_are_round() -> None:
    chart = line_chart(
        [Mark(x=1.0, y=0.841, kind="", label=""), Mark(x=36.0, y=0.853, kind="", label="")], min_height=0.02
    )
    assert [tick.value for tick in chart.x_ticks] == [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0]
    assert [round(tick.value, 6) for tick in chart.y_ticks] == [0.835, 0.84, 0.845, 0.85, 0.855]
    assert [tick.value for tick in log_chart([Mark(x=3.0, y=2000.0, kind="", label="")]).x_ticks] == [
        1,
        10,
        100,
        1000,
        1e4,
    ]
