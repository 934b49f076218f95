from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.partition import identity_hashes, keyed_uniforms
from raymu.core.planning.trace import Trace
from raymu.core.planning.traffic import TRAFFIC, Traffic, draw_trace, parse_traffic, slice_prior
from raymu.errors import TraceInvalid
from tests.unit.core.populations import population, without

HELD = population(samples=4000, owners=200)
kinds = st.sampled_from(sorted(TRAFFIC))
traffics = st.builds(
    Traffic,
    kind=kinds,
    count=st.integers(1, 60),
    over_s=st.floats(1.0, 1e5),
    size=st.integers(1, 9),
    seed=st.integers(0, 99),
)


def ids_of(trace: Trace) -> list[object]:
    return [request.ids[0] if request.ids else request.owner for request in trace.requests]


@given(traffic=traffics)
def test_a_trace_follows_from_its_traffic_and_its_seed(traffic: Traffic) -> None:
    trace = draw_trace(traffic, HELD)
    assert parse_traffic(str(traffic)) == traffic
    assert trace == draw_trace(traffic, HELD)
    assert len(set(ids_of(trace))) == len(trace.requests) == traffic.count
    assert all(0.0 <= request.at_s <= traffic.over_s for request in trace.requests)
    assert len(HELD.rows_of(trace)) == traffic.count


@pytest.mark.parametrize("kind", TRAFFIC)
def test_another_seed_gives_another_trace_and_another_count_the_same_requests_first(kind: str) -> None:
    traffic = Traffic(kind=kind, count=20, label=1)
    ids = ids_of(draw_trace(traffic, HELD))
    assert ids_of(draw_trace(replace(traffic, count=30), HELD))[:20] == ids
    assert ids_of(draw_trace(replace(traffic, seed=1), HELD)) != ids


@pytest.mark.parametrize("kind", sorted(set(TRAFFIC) - {"owner"}))
def test_a_missing_sample_is_replaced_by_the_next_and_changes_nothing_else(kind: str) -> None:
    traffic = Traffic(kind=kind, count=50, label=2)
    longer = ids_of(draw_trace(replace(traffic, count=51), HELD))
    [gone] = [sample_id for sample_id in longer[20:21] if isinstance(sample_id, int)]
    assert ids_of(draw_trace(traffic, without(HELD, gone))) == [sample_id for sample_id in longer if sample_id != gone]


def test_rows_in_another_order_give_the_same_trace() -> None:
    order = np.random.default_rng(0).permutation(len(HELD))
    shuffled = replace(
        HELD,
        ids=HELD.ids[order],
        shards=HELD.shards[order],
        slices=HELD.slices[order],
        labels=HELD.labels[order],
        owners=HELD.owners[order] if HELD.owners is not None else None,
    )
    for kind in TRAFFIC:
        traffic = Traffic(kind=kind, count=40)
        assert draw_trace(traffic, shuffled) == draw_trace(traffic, HELD)


@pytest.mark.parametrize("kind", ["uniform", "early", "late"])
def test_requests_fall_on_the_slices_as_the_prior_says(kind: str) -> None:
    slices = Counter[int]()
    for seed in range(100):
        trace = draw_trace(Traffic(kind=kind, count=20, seed=seed), HELD)
        slices.update(HELD.slices[np.concatenate(HELD.rows_of(trace))].tolist())
    prior = slice_prior(Traffic(kind=kind, count=1), HELD.slice_samples.sum(axis=0).astype(float))
    shares = [slices[position] / 2000 for position in range(4)]
    assert shares == pytest.approx(prior.tolist(), abs=4 * np.sqrt(0.25 / 2000))
    assert {"uniform": max(shares) < 0.3, "early": shares[0] > 0.34, "late": shares[3] > 0.34}[kind]


def test_class_targeted_requests_are_about_one_class() -> None:
    for label in (0, 3):
        trace = draw_trace(Traffic(kind="class", count=30, label=label), HELD)
        assert {int(sample_id) % 5 for sample_id in ids_of(trace)} == {label}  # type: ignore[call-overload]
    drawn = {int(ids_of(draw_trace(Traffic(kind="class", count=1, seed=seed), HELD))[0]) % 5 for seed in range(40)}  # type: ignore[call-overload]
    assert drawn == {0, 1, 2, 3, 4}


def test_bursts_come_at_one_moment_each() -> None:
    moments = Counter(request.at_s for request in draw_trace(Traffic(kind="burst", count=25, size=10), HELD).requests)
    assert sorted(moments.values()) == [5, 10, 10]


def test_most_of_a_storm_arrives_within_a_tenth_of_the_time() -> None:
    for seed in range(20):
        times = np.array(
            [request.at_s for request in draw_trace(Traffic(kind="storm", count=200, seed=seed), HELD).requests]
        )
        within = [np.count_nonzero((times >= start) & (times <= start + 360.0)) for start in times]
        assert max(within) > 0.85 * 200


@pytest.mark.parametrize(
    ("text", "traffic"),
    [
        ("uniform:50", Traffic(kind="uniform", count=50)),
        ("burst:200,size=20,over=600", Traffic(kind="burst", count=200, size=20, over_s=600.0)),
        ("class:5, label=3, seed=7", Traffic(kind="class", count=5, label=3, seed=7)),
    ],
)
def test_traffic_has_a_textual_form(text: str, traffic: Traffic) -> None:
    assert parse_traffic(text) == traffic
    assert parse_traffic(str(traffic)) == traffic


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uniform", "is not traffic; write it as uniform:50"),
        ("uniform:many", "is not traffic"),
        ("uniform:5,speed=3", "options: over, size, label, seed"),
        ("flood:5", "'flood' is not a kind of traffic; choose among uniform, burst"),
        ("uniform:0", "must be positive"),
        ("burst:5,over=nan", "must be positive"),
        ("burst:5,seed=-1", "seed 0 or more"),
    ],
)
def test_text_that_is_not_traffic_is_refused(text: str, message: str) -> None:
    with pytest.raises(TraceInvalid, match=message):
        parse_traffic(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uniform:31", "names 31 samples, and there are 30"),
        ("class:7,label=2", "names 7 samples, and there are 6"),
        ("class:1,label=9", "there are 0"),
        ("owner:2", "needs owners, and these data name none"),
    ],
)
def test_traffic_that_is_too_much_for_a_population_is_refused(text: str, message: str) -> None:
    with pytest.raises(TraceInvalid, match=message):
        draw_trace(parse_traffic(text), population(samples=30))


def test_keyed_uniforms_are_uniform() -> None:
    fractions = keyed_uniforms(identity_hashes(range(20000), seed=0, purpose="traffic"), seed=5)
    assert np.histogram(fractions, bins=10, range=(0.0, 1.0))[0] == pytest.approx(2000, abs=200)
