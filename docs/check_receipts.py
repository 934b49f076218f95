"""Check receipts of a raymu run without raymu: python check_receipts.py signing.pem receipt-000001.json ...

It needs Python and the package `cryptography`. The key must come to you by another way than the receipts do.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key


def require(is_so, problem):
    if not is_so:
        raise ValueError(problem)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def canonical(tree):
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decoded(text):
    require(base64.b64encode(base64.b64decode(text)).decode() == text, "not base64")
    return base64.b64decode(text)


def opened(envelope, kind, key):  # the statement in an envelope (DSSE) that the key signed
    require(set(envelope) == {"payload", "payloadType", "signatures"}, "not an envelope")
    payload, name, (signature,) = decoded(envelope["payload"]), envelope["payloadType"].encode(), envelope["signatures"]
    require(signature["keyid"] == sha256(key.public_bytes_raw()).hex(), "signed by another key")
    key.verify(decoded(signature["sig"]), b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload))
    statement = json.loads(payload)
    require(statement["predicateType"] == kind, "a statement of another type")
    return statement


def root_of(digest, index, size, hashes):  # the root of the log's tree (RFC 9162, section 2.1.3.2)
    require(0 <= index < size and all(text == text.lower() for text in hashes), "not a proof")
    node, last = index, size - 1
    for sibling in map(bytes.fromhex, hashes):
        require(last, "the proof is too long")
        is_right = node % 2 or node == last
        digest = sha256(b"\x01", sibling, digest) if is_right else sha256(b"\x01", digest, sibling)
        while is_right and node and not node % 2:
            node, last = node // 2, last // 2
        node, last = node // 2, last // 2
    require(not last, "the proof is too short")
    return digest.hex()


def check(bundle, key, before):  # before: number -> receipt that was checked
    require(set(bundle) == {"schema", "version", "receipt", "log", "inclusion"}, "not an attestation of a receipt")
    require((bundle["schema"], bundle["version"]) == ("raymu.receipt_attestation", 1), "a file of another version")
    receipt = opened(bundle["receipt"], "urn:raymu:receipt:v1", key)
    log = opened(bundle["log"], "urn:raymu:receipt-log:v1", key)
    document, place = receipt["predicate"], bundle["inclusion"]
    link, text = document["ledger"], canonical(document)
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    key.verify(bytes.fromhex(document["signature"]), canonical(unsigned))
    require(receipt["subject"][0]["digest"]["sha256"] == sha256(text).hex(), "the envelope names another receipt")
    place_of_link = log["predicate"]["run"], place["index"] + 1
    require((link["run"], link["number"]) == place_of_link, "the proof is of another receipt")
    root = root_of(sha256(b"\x00", text), place["index"], log["predicate"]["size"], place["hashes"])
    require(root == log["subject"][0]["digest"]["sha256"], "the receipt is not in the log")
    previous = before.get(link["number"] - 1)
    is_next = previous is None or link["previous_sha256"] == sha256(canonical(previous)).hex()
    require(is_next, "the one before is another")
    return document


public_key, receipts = load_pem_public_key(Path(sys.argv[1]).read_bytes()), {}
for path in sorted(sys.argv[2:]):
    try:
        valid = check(json.loads(Path(path).read_text(encoding="utf-8")), public_key, receipts)
    except Exception as error:
        sys.exit(f"{path}: NOT VALID: {error or type(error).__name__}")
    receipts[valid["ledger"]["number"]] = valid
    print(f"{path}: valid: request {valid['request_id']}, {valid['samples']} samples, {valid['exactness']}")
