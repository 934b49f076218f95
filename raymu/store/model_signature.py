"""Signatures of a model's files as OpenSSF Model Signing 1.0 has them: `model_signing verify key` checks them."""

import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from raymu.store.envelope import sign_statement, subject

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def model_key(signing_key: bytes) -> ec.EllipticCurvePrivateKey:
    """Return the key that signs models: ECDSA on P-256, since Model Signing knows no Ed25519.

    It is derived from the run's signing key, so that a run has one secret to sign with, and no more.

    Args:
        signing_key: 32 bytes
    """
    # 48 bytes, so that the remainder is as good as uniform (FIPS 186-5, appendix A.2.1).
    drawn = HKDF(algorithm=hashes.SHA256(), length=48, salt=None, info=b"raymu model signing").derive(signing_key)
    return ec.derive_private_key(1 + int.from_bytes(drawn, "big") % (_ORDER_OF_P256 - 1), ec.SECP256R1())


def model_key_pem(signing_key: bytes) -> bytes:
    """Return the public key of models as a PEM file (SubjectPublicKeyInfo)."""
    return (
        model_key(signing_key)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def sign_model(files: Mapping[str, str], *, name: str, signing_key: bytes) -> dict[str, Any]:
    """Sign files by their hashes, without reading them.

    Args:
        files: Path of each file below the model's folder, with slashes -> SHA-256 in hex.
        name: What the model is called.
        signing_key: 32 bytes

    Returns:
        a Sigstore bundle, which is one JSON document
    """
    resources = [{"name": path, "algorithm": "sha256", "digest": files[path]} for path in sorted(files)]
    root = hashlib.sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in resources)).hexdigest()
    envelope = sign_statement(
        [subject(name, root)],
        PREDICATE_TYPE,
        {"serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False}, "resources": resources},
        key=model_key(signing_key),
        key_id="",
    )
    hint = hashlib.sha256(model_key_pem(signing_key)).hexdigest()
    return {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }
