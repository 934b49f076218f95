import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.planning.trace import RevocableSamples, Trace, TracedRequest
from raymu.errors import TraceInvalid
from tests.unit.core.populations import population, singles

times = st.lists(st.floats(0.0, 100.0), min_size=1, max_size=20).map(sorted)


@given(times=times, window_s=st.sampled_from([0.0, 0.5, 20.0]))
def test_every_request_is_submitted_once_and_within_the_window(times: list[float], window_s: float) -> None:
    trace = singles(*enumerate(times))
    batches = list(trace.batches(window_s))
    assert [position for batch in batches for position in batch.indices] == list(range(len(times)))
    assert [batch.at_s for batch in batches] == sorted(batch.at_s for batch in batches)
    for batch in batches:
        assert all(times[position] <= batch.at_s <= times[position] + window_s for position in batch.indices)


def test_without_a_window_only_requests_of_one_moment_are_submitted_together() -> None:
    batches = singles((1, 0.0), (2, 0.0), (3, 0.5)).batches(0.0)
    assert [(batch.at_s, batch.indices) for batch in batches] == [(0.0, (0, 1)), (0.5, (2,))]


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "holds no requests"),
        ([(1, 5.0), (2, 3.0)], "request 2 is at 3 s, before the one above it at 5 s"),
        ([(1, -1.0)], "seconds from 0 up"),
        ([(1, float("nan"))], "seconds from 0 up"),
    ],
)
def test_a_trace_without_order_is_refused(requests: list[tuple[int, float]], message: str) -> None:
    with pytest.raises(TraceInvalid, match=message) as refusal:
        singles(*requests)
    assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)


@pytest.mark.parametrize("named", [{}, {"ids": (1,), "owner": "ann"}])
def test_a_request_names_ids_or_an_owner(named: dict[str, object]) -> None:
    with pytest.raises(TraceInvalid, match="ids, or an owner, and not both"):
        TracedRequest(at_s=0.0, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([{"ids": (3, 99, 98)}], r"request 1 names 2 unknown samples \(99, 98\)"),
        ([{"ids": ("3",)}], r"1 unknown sample \(3\)"),
        ([{"ids": (3,)}, {"ids": (4, 3)}], r"request 2 names samples again \(3\)"),
        ([{"ids": (3, 5, 3)}], r"request 1 names samples again \(3\)"),
        ([{"owner": "nobody"}], "request 1 names owner nobody"),
        ([{"owner": "owner-1"}, {"owner": "owner-1"}], "request 2 names owner owner-1, of whom no sample is left"),
    ],
)
def test_unknown_samples_are_named(requests: list[dict[str, object]], message: str) -> None:
    trace = Trace(requests=tuple(TracedRequest(at_s=0.0, **named) for named in requests))  # type: ignore[arg-type]
    with pytest.raises(TraceInvalid, match=message):
        population(samples=30, owners=10).rows_of(trace)


def test_an_owners_request_revokes_the_samples_that_are_left() -> None:
    held = population(samples=30, owners=10)
    trace = Trace(requests=(TracedRequest(at_s=0.0, ids=(11,)), TracedRequest(at_s=1.0, owner="owner-1")))
    assert [held.ids[rows].tolist() for rows in held.rows_of(trace)] == [[11], [1, 21]]


def test_a_population_counts_the_samples_of_every_slice() -> None:
    held = RevocableSamples(
        ids=np.array(["a", "b", "c"], dtype=object),
        shards=np.array([1, 1, 0]),
        slices=np.array([2, 2, 0]),
        labels=np.zeros(3, dtype=np.int64),
        shard_count=2,
        slice_count=3,
    )
    assert held.slice_samples.tolist() == [[1, 0, 0], [0, 0, 2]]
