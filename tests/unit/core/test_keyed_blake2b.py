import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymu.core import keyed_blake2b
from raymu.core.keyed_blake2b import Messages, decimal_messages, hashes_under_keys, keyed_hashes

keys = st.binary(min_size=32, max_size=32)


def by_hashlib(messages: list[bytes], key: bytes) -> list[int]:
    return [int.from_bytes(hashlib.blake2b(message, key=key, digest_size=8).digest(), "little") for message in messages]


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_blake2b, "_FEWEST", 0)
    monkeypatch.setattr(keyed_blake2b, "_AT_ONCE", 7)


@settings(deadline=None, max_examples=60)
@given(
    messages=st.lists(st.binary(max_size=400), min_size=1, max_size=12),
    key=keys,
    prefix=st.binary(min_size=1, max_size=3),
)
def test_digests_of_any_length_are_those_of_hashlib(messages: list[bytes], key: bytes, prefix: bytes) -> None:
    joined = Messages.of(messages)
    with_prefix = Messages(payload=joined.payload, starts=joined.starts, lengths=joined.lengths, prefix=prefix)
    assert keyed_hashes(with_prefix, key=key).tolist() == by_hashlib([prefix + each for each in messages], key)


@pytest.mark.parametrize("length", [1, 7, 8, 127, 128, 129, 255, 256, 257])
def test_the_ends_of_blocks_are_where_hashlib_has_them(length: int) -> None:
    messages = [bytes([number]) * length for number in range(1, 10)]
    assert keyed_hashes(Messages.of(messages), key=b"k" * 32).tolist() == by_hashlib(messages, b"k" * 32)


@settings(deadline=None, max_examples=60)
@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), key=keys)
def test_integers_of_all_widths_are_hashed_as_their_decimal_digits(numbers: list[int], key: bytes) -> None:
    hashes = keyed_hashes(decimal_messages(np.array(numbers, dtype=np.int64), prefix=b"i"), key=key)
    assert hashes.tolist() == by_hashlib([b"i%d" % number for number in numbers], key)


@pytest.mark.parametrize("number", [0, 9, 10, -1, -10, 2**32 - 1, 2**32, -(2**63), 2**63 - 1])
def test_integers_at_the_ends_of_their_widths_are_hashed_alike(number: int) -> None:
    hashes = keyed_hashes(decimal_messages(np.array([number], dtype=np.int64), prefix=b"i"), key=b"k" * 32)
    assert hashes.tolist() == by_hashlib([b"i%d" % number], b"k" * 32)


def test_few_messages_are_hashed_one_by_one_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = decimal_messages(np.arange(-20, 20), prefix=b"i")
    together = keyed_hashes(messages, key=b"k" * 32)
    monkeypatch.setattr(keyed_blake2b, "_FEWEST", 100)
    assert np.array_equal(keyed_hashes(messages, key=b"k" * 32), together)


@pytest.mark.parametrize("fewest", [0, 100])
def test_each_of_several_keys_gives_its_own_digests(monkeypatch: pytest.MonkeyPatch, fewest: int) -> None:
    monkeypatch.setattr(keyed_blake2b, "_FEWEST", fewest)
    messages = [bytes([number]) * length for number, length in enumerate([1, 130, 7, 300, 128, 2, 9, 257], 1)]
    keys = [b"k" * 32, b"l" * 32, b"k" * 32]
    digests = hashes_under_keys(Messages.of(messages), keys=keys)
    assert digests.tolist() == [by_hashlib(messages, key) for key in keys]
