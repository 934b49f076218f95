import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.partition import (
    bucket,
    derive_seed,
    epoch_order,
    equal_bands,
    fixed_batches,
    identity_hashes,
    place_by_risk,
    place_uniform,
)

identities = st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.text()), min_size=2, max_size=40, unique_by=repr)
seeds = st.integers(0, 2**63 - 1)


@given(ids=identities, seed=seeds, data=st.data())
def test_removing_a_sample_changes_no_other_home(ids: list[int | str], seed: int, data: st.DataObject) -> None:
    left_out = data.draw(st.integers(0, len(ids) - 1))
    kept = [position for position in range(len(ids)) if position != left_out]
    before = identity_hashes(ids, seed=seed, purpose="place")
    after = identity_hashes([ids[position] for position in kept], seed=seed, purpose="place")
    for place in (
        lambda hashes: place_uniform(hashes, shards=5, slices=3),
        lambda hashes: (fixed_batches(hashes, batches=4),),
    ):
        for all_places, kept_places in zip(place(before), place(after), strict=True):
            assert np.array_equal(all_places[kept], kept_places)


@given(ids=identities, seed=seeds, epoch_seed=seeds, data=st.data())
def test_removing_a_sample_never_permutes_the_others(
    ids: list[int | str], seed: int, epoch_seed: int, data: st.DataObject
) -> None:
    left_out = data.draw(st.integers(0, len(ids) - 1))
    hashes = identity_hashes(ids, seed=seed, purpose="sample")
    order = hashes[epoch_order(hashes, seed=epoch_seed)]
    kept = np.delete(hashes, left_out)
    assert np.array_equal(order[order != hashes[left_out]], kept[epoch_order(kept, seed=epoch_seed)])


def test_each_epoch_has_its_own_order() -> None:
    hashes = identity_hashes(range(50), seed=1, purpose="sample")
    assert not np.array_equal(epoch_order(hashes, seed=1), epoch_order(hashes, seed=2))


def test_a_number_and_its_text_are_two_samples() -> None:
    number, text = identity_hashes([7, "7"], seed=0, purpose="place")
    assert number != text


def test_hashes_depend_on_the_seed_and_the_purpose() -> None:
    variants = [(0, "place"), (1, "place"), (0, "sample")]
    assert len({int(identity_hashes([7], seed=seed, purpose=purpose)[0]) for seed, purpose in variants}) == 3


def test_samples_spread_evenly_over_shards_and_slices() -> None:
    hashes = identity_hashes(range(20_000), seed=3, purpose="place")
    shards, slices = place_uniform(hashes, shards=8, slices=5)
    counts = np.bincount(shards * 5 + slices, minlength=40)
    assert counts.min() > 400
    assert counts.max() < 600


@given(hashes=st.lists(st.integers(0, 2**64 - 1), min_size=1), parts=st.integers(1, 1000))
def test_every_hash_falls_into_a_bucket(hashes: list[int], parts: int) -> None:
    places = bucket(np.array(hashes, dtype=np.uint64), parts)
    assert places.min() >= 0
    assert places.max() < parts


def test_likely_leavers_are_in_late_slices() -> None:
    hashes = identity_hashes(range(4), seed=0, purpose="place")
    _, slices = place_by_risk(hashes, np.array([0.0, 0.24, 0.25, 1.0]), shards=2, bands=equal_bands(4))
    assert slices.tolist() == [0, 0, 1, 3]


@pytest.mark.parametrize(("slices", "bands"), [(1, ()), (2, (0.5,)), (4, (0.25, 0.5, 0.75))])
def test_equal_bands_cut_the_probabilities_evenly(slices: int, bands: tuple[float, ...]) -> None:
    assert equal_bands(slices) == bands


def test_derived_seeds_differ_in_every_part() -> None:
    seeds = {derive_seed(1, 2, 3, "a"), derive_seed(1, 23, "a"), derive_seed(12, 3, "a"), derive_seed(1, 2, 3, "b")}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
