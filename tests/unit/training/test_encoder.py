from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from raymu.training import encoder
from raymu.training.encoder import Encoder
from raymu.training.tasks.tensor import TensorTask

CPU = torch.device("cpu")
ALIGNMENT = 64
"""Bytes that PyTorch begins each of its tensors at a multiple of."""


def batches(width: int, sizes: Sequence[int], *, is_bytes: bool) -> list[Tensor]:
    random = np.random.default_rng(width)
    features = random.integers(0, 256, (sum(sizes), width)).astype(np.uint8 if is_bytes else np.float32)
    task = TensorTask(normalize_setting="shard", takes_integers=False)
    prepared = Encoder(task=task, fitted=task.fit_rows(features)).prepare(features, CPU)
    made = list(prepared.batches(random.permutation(len(features)), sizes, None))
    assert all(isinstance(batch, Tensor) for batch in made)
    return made  # type: ignore[return-value]  # checked


@given(
    width=st.sampled_from([1, 3, 8, 16, 20, 48]),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    at_once=st.integers(1, 400),
    is_bytes=st.booleans(),
)
def test_batches_have_the_same_values_and_alignment_however_many_are_gathered_at_once(
    width: int, sizes: list[int], at_once: int, is_bytes: bool
) -> None:
    whole = batches(width, sizes, is_bytes=is_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_CACHED_VALUES", at_once)
        parts = batches(width, sizes, is_bytes=is_bytes)
    assert [len(part) for part in parts] == sizes
    assert all(torch.equal(part, batch) for part, batch in zip(parts, whole, strict=True))
    # Else the products of a model with its inputs would have other bits.
    assert [part.data_ptr() % ALIGNMENT for part in parts] == [batch.data_ptr() % ALIGNMENT for batch in whole]


def test_few_batches_are_gathered_at_once_where_that_moves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_CACHED_VALUES", 100)

    def gathers(width: int) -> int:
        return len({batch.untyped_storage().data_ptr() for batch in batches(width, [5] * 8, is_bytes=False)})

    assert (gathers(16), gathers(20)) == (4, 2)
    assert gathers(3) == 1
