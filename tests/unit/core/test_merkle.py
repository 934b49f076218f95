"""The tree of receipts is that of RFC 6962, and its proofs hold for the place that they are of and for no other."""

import hashlib
from collections.abc import Sequence

import pytest

from raymu.core.merkle import inclusion_proofs, leaf_hash, root_hash, root_of_proof

# Published test vectors of RFC 6962's reference implementation.
DOCUMENTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def split_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root by the RFC's own recursion."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + split_root(leaves[:half]) + split_root(leaves[half:])).digest()


def test_the_roots_are_those_of_the_published_vectors() -> None:
    leaves = [leaf_hash(document) for document in DOCUMENTS]
    assert [root_hash(leaves[:size]).hex() for size in range(9)] == ROOTS


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 31, 32, 33])
def test_every_document_has_a_proof_that_holds_for_its_place_alone(size: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    root, proofs = root_hash(leaves), inclusion_proofs(leaves, range(size))
    assert root == split_root(leaves)
    for index, proof in proofs.items():
        fitting = [place for place in range(size) if root_of_proof(leaves[index], place, size, proof) == root]
        assert fitting == [index]
        assert root_of_proof(leaf_hash(b"another"), index, size, proof) != root
        assert root_of_proof(leaves[index], index, size, [*proof, root]) is None
        assert not proof or root_of_proof(leaves[index], index, size, proof[:-1]) != root
        for place in range(len(proof)):
            changed = [*proof[:place], hashlib.sha256(proof[place]).digest(), *proof[place + 1 :]]
            assert root_of_proof(leaves[index], index, size, changed) != root


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_a_place_outside_of_the_log_has_no_root(index: int, size: int) -> None:
    assert root_of_proof(leaf_hash(b"a"), index, size, []) is None
