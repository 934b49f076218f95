"""An audit on the terminal: short, whole at any width, and with what an attack means."""

from functools import partial

import pytest

from raymu.console.audit_tables import show_audit
from raymu.console.screen import Screen
from tests.support.audit_documents import audit_of_many
from tests.support.terminal import faults, rendered


def show(screen: Screen, *, requests: int, is_whole: bool = False) -> None:
    show_audit(screen, audit_of_many(requests), is_whole=is_whole)


@pytest.mark.parametrize("requests", [1, 3, 200])
def test_an_audit_of_any_number_of_requests_takes_about_forty_lines(requests: int) -> None:
    assert len(rendered(partial(show, requests=requests), 80)) <= 44
    assert len(rendered(partial(show, requests=200, is_whole=True), 80)) > 200


@pytest.mark.parametrize("width", [40, 80, 100, 160])
@pytest.mark.parametrize("is_whole", [False, True])
def test_nothing_is_broken_at_any_width(width: int, is_whole: bool) -> None:
    assert list(faults(partial(show, requests=12, is_whole=is_whole), width)) == []


def test_requests_that_fail_come_first_and_the_rest_is_counted() -> None:
    text = "\n".join(rendered(partial(show, requests=200), 80))
    assert text.startswith("verdict: fail\n")
    assert "20261201T231219-000000000001" in text
    assert "and 196 more requests; --all shows them" in text
    assert "all together and 198 requests: pass, the served model cannot be told" in text
    assert "1 request: fail, the served model knows the samples better" in text


def test_the_attack_by_two_generations_is_explained_beside_its_figures() -> None:
    text = " ".join(" ".join(rendered(partial(show, requests=1), 80)).split())
    assert "two generations 0.82 (0.62 to 0.92) 0.89 (0.70 to 0.97)" in text
    assert "finds that something was deleted. It finds that in the exact model as well as in a patched one" in text
