"""Batches made ahead: their order, their number, their errors, and the end of their threads."""

import threading
import time
from contextlib import closing

import pytest

from raymu.training.loading import made_ahead
from raymu.training.own_process import has_other_threads


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    def make(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(made_ahead(make, range(20), threads=threads)) == [number * number for number in range(20)]


def test_threads_work_ahead_by_a_bounded_number_of_items_and_end_with_their_reader() -> None:
    made: list[int] = []
    before = threading.active_count()
    with closing(made_ahead(made.append, range(100), threads=2)) as results:
        next(results)
        time.sleep(0.05)
        assert 1 <= len(made) <= 6, made
        assert threading.active_count() == before + 2
        assert not has_other_threads()  # training goes on beside them
    assert threading.active_count() == before
    assert len(made) <= 7, made


def test_an_error_is_raised_at_its_items_turn_and_ends_the_threads() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    before, results = threading.active_count(), list[int]()
    with pytest.raises(ValueError, match="three"):
        results.extend(made_ahead(make, range(10), threads=2))
    assert results == [0, 1, 2]
    assert threading.active_count() == before
