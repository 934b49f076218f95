import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from raymu.report.remedy_figure import remedy_figure, shown_audit
from tests.support.audit_documents import KLOM, audit_tree


def test_bars_are_as_long_as_the_distance_and_the_floor_is_that_of_another_seed() -> None:
    figure = remedy_figure(audit_tree())
    assert figure is not None
    assert {bar.name: pytest.approx(bar.length) for bar in figure.bars} == {
        name: klom / 0.5 for name, klom in KLOM.items()
    }
    assert figure.floor == pytest.approx(0.2 / 0.5)
    assert (figure.verdict, figure.repetitions, figure.samples) == ("fail", 8, 20)
    assert figure.remedies == ("patch and fine-tune",)
    assert figure.bars[0].over_floor == pytest.approx(0.9)
    assert [bar.label for bar in figure.bars][3] == "other seed (floor)"


@pytest.mark.parametrize("tree", [None, 5, [], {}, {"verdict": "pass"}, {"together": {"remedy": None}}])
def test_an_audit_without_repetitions_has_no_figure(tree: Any) -> None:
    assert remedy_figure(tree) is None


def places_of(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a document, as an object or a list and a key of it."""
    for key, below in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(below, dict | list):
            yield from places_of(below)


@pytest.mark.parametrize(
    "value", [None, "x", True, [], {}, float("nan"), float("inf"), -1.0, 0, 10**400], ids=lambda value: repr(value)[:8]
)
def test_a_changed_document_gives_a_figure_within_its_frame_or_none(value: Any) -> None:
    count = len(list(places_of(audit_tree())))
    assert count > 100
    for number in range(count):
        tree = audit_tree()
        node, key = list(places_of(tree))[number]
        node[key] = value
        figure = remedy_figure(tree)
        if figure is not None:
            assert all(0.0 <= bar.length <= 1.0 for bar in figure.bars)
            assert 0.0 <= figure.floor <= 1.0


def test_row_numbers_are_left_out_wherever_they_are_and_the_rest_stays() -> None:
    worst = [{"row": 4321, "keyed_hash": "ab" * 32, "loss": {"served": 0.5}}]
    tree = {"together": {"worst": worst, "rows": 3}, "requests": [{"worst": worst}], "list": [[worst]]}
    before = copy.deepcopy(tree)
    shown = shown_audit(tree)
    assert tree == before
    assert "4321" not in json.dumps(shown)
    assert shown["together"]["worst"] == [{"keyed_hash": "ab" * 32, "loss": {"served": 0.5}}]
    assert shown["together"]["rows"] == 3
    assert shown_audit("text") == "text"
