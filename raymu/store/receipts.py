"""The ledger of receipts: each one signed, and chained to the one before it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from raymu.core.receipt import Receipt
from raymu.errors import FileCorrupt
from raymu.store.codec import canonical_json, from_json, to_tree
from raymu.store.keys import has_valid_signature, sign

_LEDGER, _SIGNATURE = "ledger", "signature"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptRow:
    """One issued receipt. number: from 1; document: canonical JSON, with its place in the ledger and its signature"""

    number: int
    request_id: str
    document: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.document.encode()).hexdigest()


def sign_receipts(
    receipts: Iterable[Receipt], *, after: ReceiptRow | None, run: str, event: int, signing_key: bytes
) -> Iterator[ReceiptRow]:
    """Sign receipts, in order. after: the last row there is; event: the journal event that completes them"""
    raymu_version = version("raymu")  # read from a file
    for receipt in receipts:
        number = after.number + 1 if after else 1
        place = {
            "run": run,
            "number": number,
            "previous_sha256": after.sha256 if after else "",
            "event": event,
            "raymu_version": raymu_version,
        }
        tree = to_tree(receipt) | {_LEDGER: place}
        document = canonical_json(tree | {_SIGNATURE: sign(canonical_json(tree), signing_key)}).decode()
        after = ReceiptRow(number=number, request_id=receipt.request_id, document=document)
        yield after


def check_receipts(rows: Iterable[ReceiptRow], *, run: str, public_key: bytes) -> Iterator[tuple[int, Receipt]]:
    """Read the ledger, each row against the one before it. returns: the journal event, and the receipt

    Raises FileCorrupt, naming the receipt.
    """
    before: ReceiptRow | None = None
    for row in rows:
        source = f"receipt {row.number} ({row.request_id})"
        tree, place = _signed(row.document, public_key, source)
        expected = (run, before.number + 1 if before else 1, before.sha256 if before else "")
        if (place.get("run"), place.get("number"), place.get("previous_sha256")) != expected:
            raise FileCorrupt(source, "it, or one before it, is not in its place in the ledger")
        receipt: Receipt = from_json(Receipt, canonical_json(tree), source=source)
        if (receipt.request_id, place["number"]) != (row.request_id, row.number):
            raise FileCorrupt(source, "it is of another request")
        before = row
        yield place["event"], receipt


def latest_by_request(rows: Sequence[ReceiptRow]) -> dict[str, dict[str, Any]]:
    """Each request's last receipt, as JSON values. returns: request -> document"""
    return {row.request_id: json.loads(row.document) for row in rows}


def _signed(document: str, public_key: bytes, source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """returns: the receipt's own entries, and its place in the ledger"""
    try:
        tree = json.loads(document)
        signature = tree.pop(_SIGNATURE)
        is_own = has_valid_signature(canonical_json(tree), signature, public_key)
        place = tree.pop(_LEDGER)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise FileCorrupt(source, "not a receipt of this version") from error
    if not is_own:
        raise FileCorrupt(source, "its signature does not hold")
    return tree, place
