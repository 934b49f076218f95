import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn

from raymu.errors import FileCorrupt
from raymu.training.checkpoint_format import deserialize, serialize, strip_prefix, weights_sha256

NAMES = st.text("abc.", min_size=1, max_size=6)
DTYPES = ("float32", "float16", "float64", "int64", "uint8", "bool")
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4)
TENSORS = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)).map(torch.from_numpy)
STATES = st.dictionaries(NAMES, TENSORS, max_size=4)


def content(tensor: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    return tensor.dtype, tensor.shape, tensor.contiguous().numpy().tobytes()


@given(state=STATES)
def test_what_was_packed_is_unpacked_bit_for_bit(state: dict[str, Tensor]) -> None:
    payload = serialize(state, {"shard": 1})
    unpacked = deserialize(payload, source="a test")
    assert {name: content(tensor) for name, tensor in unpacked.items()} == {
        name: content(tensor) for name, tensor in state.items()
    }


@given(state=STATES, data=st.data())
def test_equal_content_gives_equal_bytes_and_hashes_in_any_order(state: dict[str, Tensor], data: st.DataObject) -> None:
    shuffled = {name: state[name].clone() for name in data.draw(st.permutations(sorted(state)))}
    assert serialize(state, {"shard": 1, "stage": 2}) == serialize(shuffled, {"stage": 2, "shard": 1})
    assert weights_sha256(state) == weights_sha256(shuffled)


@given(state=STATES.filter(lambda state: any(tensor.numel() for tensor in state.values())), data=st.data())
def test_the_hash_depends_on_every_byte(state: dict[str, Tensor], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(name for name, tensor in state.items() if tensor.numel())))
    changed = state[name].numpy().copy()
    octets = changed.reshape(-1).view(np.uint8)
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= 1
    assert weights_sha256(state | {name: torch.from_numpy(changed)}) != weights_sha256(state)


def test_the_hash_depends_on_names_shapes_and_dtypes() -> None:
    zeros = torch.zeros(2, 6)
    variants: list[dict[str, Tensor]] = [
        {},
        {"a": zeros},
        {"b": zeros},
        {"a": zeros, "b": zeros},
        {"a": zeros.reshape(3, 4)},
        {"a": zeros.reshape(12)},
        {"a": zeros.reshape(2, 6, 1)},
        {"a": zeros.view(torch.int32)},
        {"a": zeros.half().reshape(2, 6)},
        {"a": zeros[:1], "b": zeros[1:]},
        {"a": zeros[:0]},
        {"a": -zeros},
    ]
    assert len({weights_sha256(state) for state in variants}) == len(variants)


def test_the_hash_looks_at_values_and_not_at_how_they_lie_in_memory() -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    assert weights_sha256({"a": matrix.T.contiguous()}) == weights_sha256({"a": matrix.T})
    assert serialize({"a": matrix.T.contiguous()}, {}) == serialize({"a": matrix.T}, {})
    assert weights_sha256({"a": nn.Parameter(matrix)}) == weights_sha256({"a": matrix})


def test_tied_weights_are_packed_under_each_of_their_names() -> None:
    encoder, decoder = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    decoder.weight = encoder.weight
    tied = nn.Sequential(encoder, decoder)
    unpacked = deserialize(serialize(tied.state_dict(), {}), source="a test")
    assert sorted(unpacked) == ["0.weight", "1.weight"]
    restored = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    restored.load_state_dict(unpacked)
    assert weights_sha256(restored.state_dict()) == weights_sha256(tied.state_dict())


def test_views_of_one_memory_are_packed_whole() -> None:
    memory = torch.arange(6.0)
    unpacked = deserialize(serialize({"a": memory[:4], "b": memory[2:]}, {}), source="a test")
    assert (unpacked["a"].tolist(), unpacked["b"].tolist()) == ([0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0])


@pytest.mark.parametrize("keep", [0, 7, 8, 60, -1])
def test_a_cut_file_is_refused_by_name(keep: int) -> None:
    payload = serialize({"a": torch.zeros(5)}, {})
    with pytest.raises(FileCorrupt, match="shards/0001/stage-02: not a safetensors file"):
        deserialize(payload[:keep], source="shards/0001/stage-02")


def test_a_prefix_is_taken_off_once_and_other_names_are_left_out() -> None:
    ones, twos = torch.zeros(1), torch.ones(1)
    assert strip_prefix({"model.model.a": ones, "normalizer.b": twos, "my model.c": twos}, "model.") == {
        "model.a": ones
    }
