"""Which threads are reason enough to train in a process of its own."""

import threading

import pytest

from raymu.training.own_process import has_other_threads


@pytest.mark.parametrize(
    ("module", "is_other"),
    [
        ("raymu.store.presence", False),
        ("rich.live", False),
        ("tqdm._monitor", False),
        ("tensorboard.summary.writer.event_file_writer", False),
        ("raymu.api", True),
        ("service", True),
    ],
)
def test_threads_that_draw_no_random_numbers_do_not_count(module: str, is_other: bool) -> None:
    is_done = threading.Event()

    def wait() -> None:
        is_done.wait()

    wait.__module__ = module
    assert not has_other_threads()
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        assert has_other_threads() == is_other
    finally:
        is_done.set()
        thread.join()
