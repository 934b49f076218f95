import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raymu.config.stage_epochs import epochs_per_stage


@given(epochs=st.integers(1, 200), slices=st.integers(1, 40))
def test_the_work_of_all_stages_adds_up_to_the_configured_epochs(epochs: int, slices: int) -> None:
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
        bound_in_text = re.search(r"use (\d+) or more", str(refusal))
        assert bound_in_text is not None
        bound = int(bound_in_text.group(1))
        epochs_per_stage(bound, slices)
        for fewer in range(1, bound):
            if fewer >= epochs:
                with pytest.raises(ValueError, match="too few"):
                    epochs_per_stage(fewer, slices)


def test_one_slice_trains_all_epochs() -> None:
    assert epochs_per_stage(12, 1) == (12,)


def test_five_slices_share_thirty_epochs_equally() -> None:
    assert epochs_per_stage(30, 5) == (10, 10, 10, 10, 10)
