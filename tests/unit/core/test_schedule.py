import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raymu.config.stage_epochs import epochs_per_stage
from raymu.core.schedule import learning_rate


@given(epochs=st.integers(1, 200), slices=st.integers(1, 40))
def test_the_work_of_all_stages_adds_up_to_the_epochs_asked_for(epochs: int, slices: int) -> None:
    try:
        per_stage = epochs_per_stage(epochs, slices)
    except ValueError:
        assume(False)
    work = sum(count * (stage + 1) for stage, count in enumerate(per_stage))
    assert min(per_stage) >= 1
    assert abs(work - epochs * slices) <= slices / 2 + 1e-9


@given(epochs=st.integers(1, 20), slices=st.integers(1, 60))
def test_too_few_epochs_are_refused_with_the_least_number_that_works(epochs: int, slices: int) -> None:
    try:
        epochs_per_stage(epochs, slices)
    except ValueError as refusal:
        found = re.search(r"use (\d+) or more", str(refusal))
        assert found is not None
        bound = int(found.group(1))
        epochs_per_stage(bound, slices)
        for fewer in range(1, bound):
            if fewer >= epochs:
                with pytest.raises(ValueError, match="too few"):
                    epochs_per_stage(fewer, slices)


def test_one_slice_trains_all_epochs() -> None:
    assert epochs_per_stage(12, 1) == (12,)


def test_five_slices_share_thirty_epochs_equally() -> None:
    assert epochs_per_stage(30, 5) == (10, 10, 10, 10, 10)


@pytest.mark.parametrize(("course", "end"), [("constant", 0.1), ("linear", 0.01), ("cosine", 0.1 * 0.0244717)])
def test_rates_follow_their_course_within_a_stage(course: str, end: float) -> None:
    rates = [learning_rate(0.1, course, stage=0, stage_decay=0.5, epoch=epoch, epochs=10) for epoch in range(10)]
    assert rates[0] == 0.1
    assert rates[-1] == pytest.approx(end, rel=1e-4)
    assert rates == sorted(rates, reverse=True)


def test_rates_decay_from_stage_to_stage() -> None:
    assert learning_rate(0.1, "constant", stage=2, stage_decay=0.5, epoch=0, epochs=1) == pytest.approx(0.025)
