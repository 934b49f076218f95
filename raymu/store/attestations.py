"""Receipts as signed envelopes of common formats, which others check without raymu and without the other receipts."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from raymu.core.merkle import inclusion_proofs, leaf_hash, root_hash
from raymu.store.codec import canonical_json
from raymu.store.receipts import ReceiptRow, check_chain

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
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
    check_chain(rows, run=run, public_key=_public_key(signing_key).public_bytes_raw())
    chosen_numbers = frozenset(numbers)
    leaves = [leaf_hash(row.document.encode()) for row in rows]
    chosen = [index for index, row in enumerate(rows) if row.number in chosen_numbers]
    proofs = inclusion_proofs(leaves, chosen)
    log = _envelope(_log_statement(run, leaves), signing_key)
    for index in chosen:
        yield {
            "schema": SCHEMA,
            "version": 1,
            "receipt": _envelope(_receipt_statement(run, rows[index]), signing_key),
            "log": log,
            "inclusion": {"index": index, "hashes": [digest.hex() for digest in proofs[index]]},
        }


def public_key_pem(public: bytes) -> bytes:
    """Return a public key, 32 bytes, as a PEM file (SubjectPublicKeyInfo), which other programs read."""
    return Ed25519PublicKey.from_public_bytes(public).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _receipt_statement(run: str, row: ReceiptRow) -> dict[str, Any]:
    document = json.loads(row.document)
    subjects = [_subject(f"receipt {row.number} of run {run}", row.sha256)]
    if document.get("manifest_after"):
        subjects.append(_subject(f"generation {document['generation_after']}", document["manifest_after"]))
    return _statement(subjects, RECEIPT_TYPE, document)


def _log_statement(run: str, leaves: Sequence[bytes]) -> dict[str, Any]:
    subject = _subject(f"receipts of run {run}", root_hash(leaves).hex())
    return _statement([subject], LOG_TYPE, {"run": run, "size": len(leaves), "tree": "RFC 6962"})


def _subject(name: str, sha256: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}}


def _statement(
    subjects: Sequence[Mapping[str, Any]], predicate_type: str, predicate: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": list(subjects),
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def _envelope(statement: Mapping[str, Any], signing_key: bytes) -> dict[str, Any]:
    from securesystemslib.dsse import Envelope  # a third of a second, and only attestations need it
    from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

    public = _public_key(signing_key)
    key_id = hashlib.sha256(public.public_bytes_raw()).hexdigest()
    signer = CryptoSigner(Ed25519PrivateKey.from_private_bytes(signing_key), SSlibKey.from_crypto(public, key_id))
    envelope = Envelope(canonical_json(statement), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return dict(envelope.to_dict())


def _public_key(signing_key: bytes) -> Ed25519PublicKey:
    return Ed25519PrivateKey.from_private_bytes(signing_key).public_key()
