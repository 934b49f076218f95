"""What is fitted in parts has the bits of what is fitted at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.training.normalizer import Normalizer


@given(
    samples=st.integers(1, 300),
    shape=st.sampled_from([(2,), (7,), (3, 1), (1, 4, 5), (300,)]),
    dtype=st.sampled_from(["u1", "i8", "f2", "f4", "f8"]),
    part=st.integers(1, 150),
    seed=st.integers(0, 9),
)
def test_a_normalizer_is_fitted_in_parts_to_the_same_bits(
    samples: int, shape: tuple[int, ...], dtype: str, part: int, seed: int
) -> None:
    features = (np.random.default_rng(seed).normal(size=(samples, *shape)) * 60).astype(dtype)
    at_once = Normalizer.fit(features, "shard").tensors()
    in_parts = Normalizer.fit_parts(
        lambda: (features[start : start + part] for start in range(0, samples, part))
    ).tensors()
    for name, tensor in at_once.items():
        assert in_parts[name].dtype == tensor.dtype
        assert in_parts[name].numpy().tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("width", [9_000, 20_000])
def test_rows_that_are_wider_than_numpys_buffer_have_the_same_bits_too(width: int) -> None:
    features = np.random.default_rng(0).normal(size=(17, width))
    at_once, in_parts = (
        Normalizer.fit(features, "shard"),
        Normalizer.fit_parts(lambda: iter(np.split(features, [5, 6]))),
    )
    assert in_parts.mean.equal(at_once.mean)
    assert in_parts.scale.equal(at_once.scale)
