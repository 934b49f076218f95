"""Receipts as signed envelopes of common formats, which others check without raymu and without the other receipts."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from raymu.core.merkle import inclusion_proofs, leaf_hash, root_hash
from raymu.store.envelope import sign_statement, subject
from raymu.store.keys import public_key
from raymu.store.receipts import ReceiptRow, check_chain

RECEIPT_TYPE = "urn:raymu:receipt:v1"
"""Type of the statement that a receipt is in."""
LOG_TYPE = "urn:raymu:receipt-log:v1"
"""Type of the statement about all receipts of a run."""
SCHEMA = "raymu.receipt_attestation"


def attest(
    rows: Sequence[ReceiptRow], *, run: str, signing_key: bytes, numbers: Collection[int]
) -> Iterator[dict[str, Any]]:
    """Put receipts into envelopes (DSSE 1.0) with statements of in-toto, and prove that they are in the run's log.

    The same receipts give the same bytes each time, since Ed25519 is deterministic.

    Args:
        rows: All receipts that the run issued, in order.
        run: Id of the run.
        signing_key: 32 bytes
        numbers: The receipts to attest.

    Yields:
        documents of docs/formats/receipt.md, in the order of issue

    Raises:
        FileCorrupt: A receipt was changed, removed or moved. Nothing is signed then.
    """
    check_chain(rows, run=run, public_key=public_key(signing_key))
    chosen_numbers = frozenset(numbers)
    leaves = [leaf_hash(row.document.encode()) for row in rows]
    chosen = [index for index, row in enumerate(rows) if row.number in chosen_numbers]
    proofs = inclusion_proofs(leaves, chosen)
    log = _log_envelope(run, leaves, signing_key)
    for index in chosen:
        yield {
            "schema": SCHEMA,
            "version": 1,
            "receipt": _receipt_envelope(run, rows[index], signing_key),
            "log": log,
            "inclusion": {"index": index, "hashes": [digest.hex() for digest in proofs[index]]},
        }


def public_key_pem(public: bytes) -> bytes:
    """Return a public key, 32 bytes, as a PEM file (SubjectPublicKeyInfo), which other programs read."""
    return Ed25519PublicKey.from_public_bytes(public).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _receipt_envelope(run: str, row: ReceiptRow, signing_key: bytes) -> dict[str, Any]:
    document = json.loads(row.document)
    subjects = [subject(f"receipt {row.number} of run {run}", row.sha256)]
    if document.get("manifest_after"):
        subjects.append(subject(f"generation {document['generation_after']}", document["manifest_after"]))
    return _envelope(subjects, RECEIPT_TYPE, document, signing_key)


def _log_envelope(run: str, leaves: Sequence[bytes], signing_key: bytes) -> dict[str, Any]:
    root = subject(f"receipts of run {run}", root_hash(leaves).hex())
    return _envelope([root], LOG_TYPE, {"run": run, "size": len(leaves), "tree": "RFC 6962"}, signing_key)


def _envelope(
    subjects: Sequence[Mapping[str, Any]], predicate_type: str, predicate: Mapping[str, Any], signing_key: bytes
) -> dict[str, Any]:
    key = Ed25519PrivateKey.from_private_bytes(signing_key)
    key_id = hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()
    return sign_statement(subjects, predicate_type, predicate, key=key, key_id=key_id)
