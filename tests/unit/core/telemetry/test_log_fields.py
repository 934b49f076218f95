"""The fields of an event in the log, which never contain what a request names."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Strategy
from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted, ShardRepaired
from raymu.core.records import Exactness, Remedy
from raymu.core.telemetry.log_fields import MOST_REQUESTS, LogValue, log_fields
from tests.support.stored_records import EVENTS
from tests.unit.core.examples import NOW, accepted, report_of, request, trained_board

WORDS = {*Remedy, *Exactness, *Strategy, str(UnlearningConfig().boundary)}


def request_ids(event: Event) -> set[str]:
    match event:
        case RevocationsAccepted(requests=requests):
            return {request.request_id for request in requests}
        case ShardRepaired(report=report):
            return set(report.request_ids)
        case GenerationPublished(rewound=rewound, repaired=repaired, settled=settled):
            return {*rewound, *repaired, *settled}
        case RequestsPurged():
            return set(event.request_ids)
        case _:
            return set()


def texts(values: Iterable[LogValue]) -> set[str]:
    """Return all texts among values."""
    strings: set[str] = set()
    for value in values:
        if isinstance(value, str):
            strings.add(value)
        elif isinstance(value, tuple):
            strings.update(value)
    return strings


@pytest.mark.parametrize("kind", EVENTS, ids=range(len(EVENTS)))
@given(data=st.data())
def test_logged_text_is_a_term_of_raymu_or_a_request_id(kind: SearchStrategy[Event], data: st.DataObject) -> None:
    event = data.draw(kind)
    assert texts(log_fields(event).values()) <= WORDS | request_ids(event)


def test_a_log_line_names_a_limited_number_of_requests_and_counts_all() -> None:
    many = [request(f"r{number:03}", {0: {1: 1}}) for number in range(100)]
    fields = log_fields(accepted(*many))
    assert fields["requests"] == 100
    assert fields["request_ids"] == tuple(request.request_id for request in many[:MOST_REQUESTS])


def test_a_repair_is_logged_with_its_cost() -> None:
    [_, command] = trained_board().handle(accepted(request("r1", {0: {1: 2}})))
    fields = log_fields(ShardRepaired(at=NOW, report=report_of(command, {1: 2}, version="1")))  # type: ignore[arg-type]
    assert (fields["shard"], fields["remedy"], fields["exactness"], fields["request_ids"]) == (
        0,
        "retrain",
        "exact",
        ("r1",),
    )
    assert fields["passes"] == 2 * (18 + 28 + 38)
