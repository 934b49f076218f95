"""Keyed BLAKE2b (RFC 7693) with digests of 8 bytes, of many short messages at once, in NumPy.

`hashlib` needs a call, and objects of Python's, for each message. Here each step of the compression function is one operation
on thousands of messages, whose state fits a processor's cache. `tests/unit/core/test_keyed_blake2b.py` compares the two.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
_Pairs = list[tuple[Words, Words]]
"""Rows of words that are changed, and the rows that change them."""

DIGEST_BYTES, KEY_BYTES = 8, 32
_BLOCK_BYTES, _WORD_BYTES = 128, 8
_AT_ONCE = 8192
"""Messages whose state is computed together, so that it fits a cache, and a step costs more than its call."""
_FEWEST = 8192
"""Messages from which this is quicker than a call of hashlib for each."""
_START = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    dtype=np.uint64,
)
"""The initialisation vector of the standard."""
_ORDERS = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
"""The order in which each round takes the words of a block; rounds 10 and 11 begin again."""
_ROUNDS = 12
_ROTATIONS = ((32, 24), (16, 63))
"""Bits by which the halves of a step rotate."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Messages:
    """Messages that lie in one array of bytes."""

    payload: Bytes
    """The bytes of all messages."""
    starts: Offsets
    """(messages,) where each begins in `payload`."""
    lengths: Offsets
    """(messages,) bytes of each."""
    prefix: bytes = b""
    """Bytes before each message, which are hashed with it."""

    def __len__(self) -> int:
        return len(self.starts)

    def slice(self, start: int, stop: int) -> "Messages":
        """Select consecutive messages."""
        return Messages(
            payload=self.payload, starts=self.starts[start:stop], lengths=self.lengths[start:stop], prefix=self.prefix
        )

    def take(self, rows: npt.NDArray[np.int64]) -> "Messages":
        """Select messages by their numbers."""
        return Messages(payload=self.payload, starts=self.starts[rows], lengths=self.lengths[rows], prefix=self.prefix)

    def padded(self) -> "Messages":
        """Return the same messages in an array that goes on after each for a whole number of blocks."""
        longest = int(self.lengths.max(initial=0)) + _BLOCK_BYTES
        if len(self) and int(self.starts.max()) + longest <= len(self.payload):
            return self
        payload = np.concatenate([self.payload, np.zeros(longest, dtype=np.uint8)])
        return Messages(payload=payload, starts=self.starts, lengths=self.lengths, prefix=self.prefix)

    @classmethod
    def of(cls, messages: Sequence[bytes]) -> "Messages":
        """Join messages."""
        lengths = np.fromiter(map(len, messages), dtype=np.int64, count=len(messages))
        return cls(
            payload=np.frombuffer(b"".join(messages), dtype=np.uint8),
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
        )


def decimal_messages(numbers: npt.NDArray[np.int64], *, prefix: bytes) -> Messages:
    """Return the decimal digits of integers, (numbers,) int64, as messages."""
    is_negative = numbers < 0
    rest = numbers.astype(np.uint64)
    rest = np.where(is_negative, ~rest + np.uint64(1), rest)  # the lowest number has no positive counterpart
    highest = int(rest.max()) if len(rest) else 0
    width = len(str(highest)) + 1
    digits = np.empty((len(numbers), width), dtype=np.uint8)
    lengths = np.ones(len(numbers), dtype=np.int64)
    ten = np.uint32(10) if highest < 2**32 else np.uint64(10)
    rest = rest.astype(ten.dtype)
    for column in range(width - 1, 0, -1):
        quotient = rest // ten
        digits[:, column] = rest - quotient * ten
        rest = quotient
        lengths += rest > 0
    digits += np.uint8(ord("0"))
    starts = np.arange(1, len(numbers) + 1, dtype=np.int64) * width - lengths
    if is_negative.any():
        lengths += is_negative
        starts -= is_negative
        digits.reshape(-1)[starts[is_negative]] = ord("-")
    return Messages(payload=digits.reshape(-1), starts=starts, lengths=lengths, prefix=prefix)


def keyed_hashes(messages: Messages, *, key: bytes) -> Words:
    """Return the digest of each message, none of them empty, under a key of 32 bytes: (messages,) uint64, little-endian."""
    return hashes_under_keys(messages, keys=[key])[0]


def hashes_under_keys(messages: Messages, *, keys: Sequence[bytes]) -> Words:
    """Return the digests of the same messages under several keys: (keys, messages) uint64, as `keyed_hashes` has them."""
    if len(messages) < _FEWEST:
        return np.stack([_one_by_one(messages, key) for key in keys])
    messages = messages.padded()
    digests = np.empty((len(keys), len(messages)), dtype=np.uint64)
    for start in range(0, len(messages), _AT_ONCE):
        part = messages.slice(start, start + _AT_ONCE)
        digests[:, start : start + len(part)] = _hash_part(part, keys)
    return digests


def _one_by_one(messages: Messages, key: bytes) -> Words:
    payload, keyed = messages.payload.tobytes(), hashlib.blake2b(key=key, digest_size=DIGEST_BYTES)
    keyed.update(messages.prefix)
    digests = []
    for start, length in zip(messages.starts.tolist(), messages.lengths.tolist(), strict=True):
        state = keyed.copy()
        state.update(payload[start : start + length])
        digests.append(state.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _hash_part(messages: Messages, keys: Sequence[bytes]) -> Words:
    """Hash messages that fit the cache, all that have as many blocks together."""
    blocks = np.maximum(1, -(-(messages.lengths + len(messages.prefix)) // _BLOCK_BYTES))
    if blocks.min() == blocks.max():
        return _hash_blocks(messages, int(blocks[0]), keys)
    digests = np.empty((len(keys), len(messages)), dtype=np.uint64)
    for count in np.unique(blocks).tolist():
        rows = np.flatnonzero(blocks == count)
        digests[:, rows] = _hash_blocks(messages.take(rows), count, keys)
    return digests


def _hash_blocks(messages: Messages, blocks: int, keys: Sequence[bytes]) -> Words:
    states = [_keyed_state(key) for key in keys]
    for block in range(blocks):
        words, is_last = _words(messages, block), block == blocks - 1
        counter: Any = (block + 2) * _BLOCK_BYTES
        if is_last:
            counter = (messages.lengths + (len(messages.prefix) + _BLOCK_BYTES)).astype(np.uint64)
        states = [_compress(state, words, counter=counter, is_last=is_last) for state in states]
    return np.stack([state[0] for state in states])


def _words(messages: Messages, block: int) -> Mapping[int, Words]:
    """Return the words of a block of each message that are not zero in all of them: place -> (messages,)."""
    first, skipped = block * _BLOCK_BYTES, len(messages.prefix)
    used = min(_BLOCK_BYTES, int(messages.lengths.max()) + skipped - first)
    width = -(-used // _WORD_BYTES) * _WORD_BYTES
    buffer = np.zeros((len(messages), width), dtype=np.uint8)
    begin = skipped if block == 0 else 0  # of the message, within the block
    offset = first + begin - skipped  # of the block, within the message
    if begin:
        buffer[:, :begin] = np.frombuffer(messages.prefix, dtype=np.uint8)
    if used > begin:
        taken = sliding_window_view(messages.payload, used - begin)[messages.starts + offset]
        if (messages.lengths != messages.lengths[0]).any():
            taken *= np.arange(offset, offset + used - begin) < messages.lengths[:, None]
        buffer[:, begin:used] = taken
    words = buffer.view("<u8").astype(np.uint64, copy=False)
    return {place: np.ascontiguousarray(words[:, place]) for place in range(words.shape[1])}


@lru_cache(maxsize=64)
def _keyed_state(key: bytes) -> Words:
    """Return the state after the block of the key, which all messages begin with: (8, 1)."""
    state = _START.copy()
    state[0] ^= np.uint64(DIGEST_BYTES | KEY_BYTES << 8 | 1 << 16 | 1 << 24)
    block = np.frombuffer(key.ljust(_BLOCK_BYTES, b"\0"), dtype="<u8").astype(np.uint64)
    words = {place: block[place : place + 1] for place in range(len(block))}
    return _compress(state[:, None], words, counter=_BLOCK_BYTES, is_last=False)


def _compress(state: Words, words: Mapping[int, Words], *, counter: Any, is_last: bool) -> Words:
    """Mix a block of each message into its state, (8, messages) or (8, 1) for all. Returns the new state, (8, messages)."""
    messages = len(words[0])
    mixed = np.empty((16, messages), dtype=np.uint64)
    mixed[:8], mixed[8:] = state, _START[:, None]
    mixed[12] ^= np.asarray(counter, dtype=np.uint64)
    if is_last:
        np.invert(mixed[14], out=mixed[14])
    quarters = [mixed[first : first + 4] for first in (0, 4, 8, 12)]
    scratch = np.empty((4, messages), dtype=np.uint64)
    columns, diagonals = _pairs(*quarters, shift=0), _pairs(*quarters, shift=1)
    for turn in range(_ROUNDS):
        order = _ORDERS[turn % len(_ORDERS)]
        for pairs, places in ((columns, order[:8]), (diagonals, order[8:])):
            for step, bits in enumerate(_ROTATIONS):
                _mix(pairs, quarters, scratch, [words.get(place) for place in places[step::2]], bits)
    return state ^ mixed[:8] ^ mixed[8:]


def _pairs(a: Words, b: Words, c: Words, d: Words, *, shift: int) -> tuple[_Pairs, ...]:
    """Return what meets in four functions G at once: rows of a and b, of d and a, of c and d, of b and c.

    Args:
        a: (4, messages), a row for each function; the same holds for the others.
        b: Its rows begin `shift` rows later, and those of c and d twice and three times as many.
        c: See b.
        d: See b.
        shift: 0 for the columns of the standard's matrix, 1 for its diagonals.
    """
    if not shift:
        return [(a, b)], [(d, a)], [(c, d)], [(b, c)]
    return (
        [(a[:3], b[1:]), (a[3:], b[:1])],
        [(d[:3], a[1:]), (d[3:], a[:1])],
        [(c[:3], d[1:]), (c[3:], d[:1])],
        [(b[:3], c[1:]), (b[3:], c[:1])],
    )


def _mix(
    pairs: tuple[_Pairs, ...],
    quarters: Sequence[Words],
    scratch: Words,
    added: Sequence[Words | None],
    bits: tuple[int, int],
) -> None:
    """Apply half of four functions G of the standard, in place. A word that is None is zero in all messages."""
    a, b, _, d = quarters
    a_b, d_a, c_d, b_c = pairs
    for values, others in a_b:
        np.add(values, others, out=values)
    for row, word in zip(a, added, strict=True):
        if word is not None:
            np.add(row, word, out=row)
    for values, others in d_a:
        np.bitwise_xor(values, others, out=values)
    _rotate(d, bits[0], scratch)
    for values, others in c_d:
        np.add(values, others, out=values)
    for values, others in b_c:
        np.bitwise_xor(values, others, out=values)
    _rotate(b, bits[1], scratch)


def _rotate(values: Words, bits: int, scratch: Words) -> None:
    """Rotate to the right, in place."""
    if bits == 63:
        np.add(values, values, out=scratch)  # quicker than a shift
    else:
        np.left_shift(values, np.uint64(64 - bits), out=scratch)
    np.right_shift(values, np.uint64(bits), out=values)
    np.bitwise_or(values, scratch, out=values)
