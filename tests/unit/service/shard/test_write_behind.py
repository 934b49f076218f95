import threading

import pytest

from raymu.service.shard.write_behind import WriteBehind
from raymu.training.own_process import has_other_threads


def test_files_are_written_beside_the_work_and_one_after_the_other() -> None:
    may_write, written = threading.Event(), list[int]()

    def write_first() -> None:
        may_write.wait(10)
        written.append(1)

    with WriteBehind() as behind:
        behind.begin(write_first)
        assert written == []  # the work goes on
        assert not has_other_threads()  # and stays in its process
        may_write.set()
        behind.begin(lambda: written.append(2))
        assert written[0] == 1  # at most one piece waits
    assert written == [1, 2]


def test_a_failure_to_write_fails_the_work_before_anything_else_is_written() -> None:
    written: list[int] = []

    def fail() -> None:
        raise OSError("no room")

    behind = WriteBehind()
    behind.begin(fail)
    with pytest.raises(OSError, match="no room"):
        behind.begin(lambda: written.append(2))
    behind.wait()
    assert written == []


def test_a_failure_to_write_at_the_end_fails_the_work_too() -> None:
    def fail() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), WriteBehind() as behind:
        behind.begin(fail)


def test_work_that_fails_says_why_and_keeps_what_was_written() -> None:
    written: list[int] = []

    def work() -> None:
        with WriteBehind() as behind:
            behind.begin(lambda: written.append(1))
            raise ValueError("the work itself")

    with pytest.raises(ValueError, match="the work itself"):
        work()
    assert written == [1]
