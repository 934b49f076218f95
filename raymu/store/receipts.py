"""Issued receipts: each one signed, and chained to the one before it."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from raymu.core.receipt import Receipt
from raymu.errors import FileCorrupt
from raymu.store.codec import canonical_json, from_json, parse_json, to_tree
from raymu.store.keys import has_valid_signature, public_key, sign

_CHAIN, _SIGNATURE = "ledger", "signature"
"""Entries of the document beside those of the receipt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptRow:
    """One issued receipt."""

    number: int
    """Number of the receipt, from 1, in the order of issue."""
    request_id: str
    document: str
    """Canonical JSON of the receipt, its link to the receipt before it, and its signature."""

    @property
    def name(self) -> str:
        """The receipt's name in error messages."""
        return f"receipt {self.number} ({self.request_id})"

    @property
    def sha256(self) -> str:
        """Hash of the document, hex, which the next receipt contains."""
        return hashlib.sha256(self.document.encode()).hexdigest()


def sign_receipts(
    receipts: Iterable[Receipt], *, after: ReceiptRow | None, run: str, event: int, signing_key: bytes
) -> Iterator[ReceiptRow]:
    """Sign receipts, in order.

    Args:
        receipts: Receipts to issue.
        after: The receipt that was issued last. None before the first.
        run: Id of the run.
        event: Number of the journal event that completes them.
        signing_key: 32 bytes
    """
    signed_by = public_key(signing_key).hex()
    for receipt in receipts:
        number = after.number + 1 if after else 1
        link = {
            "run": run,
            "number": number,
            "previous_sha256": after.sha256 if after else "",
            "event": event,
            "raymu_version": _own_version(),
            "public_key": signed_by,
        }
        tree = to_tree(receipt) | {_CHAIN: link}
        document = canonical_json(tree | {_SIGNATURE: sign(canonical_json(tree), signing_key)}).decode()
        after = ReceiptRow(number=number, request_id=receipt.request_id, document=document)
        yield after


@cache
def _own_version() -> str:
    return version("raymu")  # read from a file, so once in a process


def check_receipts(rows: Iterable[ReceiptRow], *, run: str, public_key: bytes) -> Iterator[tuple[int, Receipt]]:
    """Read all issued receipts of a run, checking signatures and links.

    Returns:
        for each receipt, the number of the journal event that completed it, and the receipt

    Raises:
        FileCorrupt: A receipt was changed, removed or moved. The message names it.
    """
    before: ReceiptRow | None = None
    for row in rows:
        tree, link = _linked(row, before, run=run)
        _require_signature(row, public_key)
        receipt: Receipt = from_json(Receipt, canonical_json(tree), source=row.name)
        before = row
        yield link["event"], receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class LastReceipt:
    """The receipt that later ones follow."""

    number: int
    """Number of the receipt, from 1."""
    sha256: str
    """Hash of its document, in hex."""

    @classmethod
    def of(cls, row: ReceiptRow | None) -> "LastReceipt | None":
        """Name a receipt; None without one."""
        return cls(number=row.number, sha256=row.sha256) if row else None


def check_chain(
    rows: Sequence[ReceiptRow], *, run: str, public_key: bytes, after: LastReceipt | None = None
) -> list[tuple[int, str]]:
    """Check the links of all issued receipts, and the signature of the last one, which all others follow from.

    Args:
        rows: All receipts; those from `after` on, if it is given.
        run: Id of the run.
        public_key: 32 bytes
        after: A receipt whose hash is known otherwise.

    Returns:
        for each receipt after it, the number of the journal event that completed it, and its request

    Raises:
        FileCorrupt: A receipt was changed, removed or moved. The message names it.
    """
    befores: Sequence[ReceiptRow | None] = (None, *rows)
    if after:
        if not rows or LastReceipt.of(rows[0]) != after:
            raise FileCorrupt(f"receipt {after.number}", "it is missing, or not the one that was issued")
        befores, rows = rows, rows[1:]
    issued = [
        (_linked(row, before, run=run)[1]["event"], row.request_id) for row, before in zip(rows, befores, strict=False)
    ]
    if rows:
        _require_signature(rows[-1], public_key)
    return issued


def issued_receipt(row: ReceiptRow, *, run: str, public_key: bytes) -> tuple[int, Receipt]:
    """Read one issued receipt by itself: its signature is checked, and its place among the others is not.

    Returns:
        the number of the journal event that completed it, and the receipt

    Raises:
        FileCorrupt: It is not a receipt of this run as it was issued.
    """
    tree, link = _parts(row)
    _require_signature(row, public_key)
    if (link["run"], link["number"], tree["request_id"]) != (run, row.number, row.request_id):
        raise FileCorrupt(row.name, "it belongs to another request")
    receipt: Receipt = from_json(Receipt, canonical_json(tree), source=row.name)
    return link["event"], receipt


def latest_by_request(rows: Sequence[ReceiptRow]) -> dict[str, dict[str, Any]]:
    """Return the last receipt of each request: request -> document as JSON values."""
    return {row.request_id: parse_json(row.document, source=row.name) for row in rows}


def _linked(row: ReceiptRow, before: ReceiptRow | None, *, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries of a receipt, and its link to the receipt before it. Raises FileCorrupt."""
    tree, link = _parts(row)
    position = (link["run"], link["number"], link["previous_sha256"])
    if position != (run, before.number + 1 if before else 1, before.sha256 if before else ""):
        raise FileCorrupt(row.name, "it, or one before it, is missing or in another order")
    if (tree["request_id"], link["number"]) != (row.request_id, row.number):
        raise FileCorrupt(row.name, "it belongs to another request")
    return tree, link


def _parts(row: ReceiptRow) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries of a receipt, and its link, which has what a link has. Raises FileCorrupt."""
    tree = parse_json(row.document, source=row.name)
    try:
        link = tree.pop(_CHAIN)
        del tree[_SIGNATURE]
        _ = tree["request_id"], link["run"], link["number"], link["previous_sha256"], link["event"]
    except (KeyError, AttributeError, TypeError) as error:
        raise FileCorrupt(row.name, "not a receipt of this version") from error
    return tree, link


def _require_signature(row: ReceiptRow, public_key: bytes) -> None:
    """Raise FileCorrupt if a receipt is not signed by the key, or names another one."""
    tree = parse_json(row.document, source=row.name)
    signature = tree.pop(_SIGNATURE)
    is_canonical = canonical_json(tree | {_SIGNATURE: signature}) == row.document.encode()
    if not (is_canonical and has_valid_signature(canonical_json(tree), signature, public_key)):
        raise FileCorrupt(row.name, "its signature is invalid")
    if tree[_CHAIN].get("public_key", public_key.hex()) != public_key.hex():
        raise FileCorrupt(row.name, "it names another key than the one that signed it")
