"""A Merkle tree over the documents of a log (RFC 6962, section 2.1): a proof shows one of them without the others."""

import hashlib
from collections.abc import Sequence


def leaf_hash(document: bytes) -> bytes:
    """Return the hash of a document of the log, 32 bytes."""
    return hashlib.sha256(b"\x00" + document).digest()


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree, 32 bytes.

    Args:
        leaves: Hash of each document, in the order of the log.
    """
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def inclusion_proofs(leaves: Sequence[bytes], indices: Sequence[int]) -> dict[int, list[bytes]]:
    """Return the hashes that lead from some documents to the root: index -> from the leaf upwards, 32 bytes each.

    Args:
        leaves: Hash of each document, in the order of the log.
        indices: Places of the documents to prove, from 0.
    """
    proofs: dict[int, list[bytes]] = {index: [] for index in indices}
    places = {index: index for index in indices}
    level = list(leaves)
    while len(level) > 1:
        for index, place in places.items():
            sibling = place ^ 1
            if sibling < len(level):  # the last of an odd number goes up as it is
                proofs[index].append(level[sibling])
            places[index] = place // 2
        level = _parents(level)
    return proofs


def root_of_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root that a proof leads to; None if the proof does not fit the place (RFC 9162, section 2.1.3.2).

    Args:
        leaf: Hash of the document.
        index: Its place in the log, from 0.
        size: Number of documents in the log.
        proof: The hashes beside the path, from the leaf upwards.
    """
    if not 0 <= index < size:
        return None
    node, last, digest = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if node % 2 or node == last:
            digest = _parent(sibling, digest)
            while node and not node % 2:
                node, last = node // 2, last // 2
        else:
            digest = _parent(digest, sibling)
        node, last = node // 2, last // 2
    return digest if last == 0 else None


def _parents(level: Sequence[bytes]) -> list[bytes]:
    """Return the hashes of the next level. Pairing from the left gives the tree that RFC 6962 splits from above."""
    paired = [_parent(level[place], level[place + 1]) for place in range(0, len(level) - 1, 2)]
    return paired + list(level[len(level) - len(level) % 2 :])


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
