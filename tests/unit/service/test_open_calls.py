"""A client that carries out several calls at once closes when they have ended, and never waits for its own."""

import threading

import pytest

from raymu.errors import RequestInvalid
from raymu.service.coordinator.shared_calls import ClientClosed, OpenCalls


def test_closing_in_the_middle_of_an_own_call_is_refused_and_waits_for_nobody() -> None:
    calls = OpenCalls()
    with calls.counted(), pytest.raises(RequestInvalid, match="in the middle of a call"):
        calls.close()
    assert calls.close()


def test_closing_waits_for_calls_of_other_threads_and_later_ones_are_refused() -> None:
    calls, has_begun, may_end = OpenCalls(), threading.Event(), threading.Event()

    def call() -> None:
        with calls.counted():
            has_begun.set()
            may_end.wait(30)

    caller = threading.Thread(target=call)
    caller.start()
    assert has_begun.wait(30)
    closing = threading.Thread(target=calls.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    may_end.set()
    closing.join(30)
    caller.join(30)
    assert not closing.is_alive()
    assert not calls.close()
    with pytest.raises(ClientClosed), calls.counted():
        pass
