"""What may pass is tried again a few times, and what was tried in vain within an attempt is not tried again around it."""

from collections.abc import Callable

import pytest

from raymu.store.files.retries import retried

ATTEMPTS = 4


class Passing(Exception):
    """A failure that may pass."""


class Translated(Exception):
    """What a caller makes of a failure."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymu.store.files.retries.PAUSES_S", (0.0,) * (ATTEMPTS - 1))


class Server:
    """A server that fails so often, and then answers."""

    def __init__(self, *, failures: float = float("inf"), failure: type[Exception] = Passing) -> None:
        self.calls, self._failures, self._failure = 0, failures, failure

    def call(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._failure
        return "answer"


def is_any(error: Exception) -> bool:
    return isinstance(error, Passing | Translated)


def translated(call: Callable[[], str]) -> Callable[[], str]:
    def called() -> str:
        try:
            return call()
        except Passing as error:
            raise Translated from error

    return called


@pytest.mark.parametrize("failures", range(ATTEMPTS))
def test_the_first_attempt_that_succeeds_gives_the_result(failures: int) -> None:
    server = Server(failures=failures)
    assert retried(server.call, is_any) == "answer"
    assert server.calls == failures + 1


def test_the_last_failure_is_raised() -> None:
    server = Server()
    with pytest.raises(Passing):
        retried(server.call, is_any)
    assert server.calls == ATTEMPTS


def test_what_cannot_pass_is_raised_at_once() -> None:
    server = Server(failure=ArithmeticError)
    with pytest.raises(ArithmeticError):
        retried(server.call, is_any)
    assert server.calls == 1


def test_what_was_tried_in_vain_is_not_tried_again_around_it() -> None:
    server = Server()
    with pytest.raises(Translated):
        retried(translated(lambda: retried(server.call, is_any)), is_any)
    assert server.calls == ATTEMPTS


def test_what_only_the_outer_call_knows_to_pass_is_tried_again() -> None:
    server = Server(failures=ATTEMPTS - 1)
    assert retried(translated(lambda: retried(server.call, lambda _error: False)), is_any) == "answer"
    assert server.calls == ATTEMPTS
