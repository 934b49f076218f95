import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.receipt import Receipt
from raymu.errors import FileCorrupt
from raymu.store.codec import canonical_json
from raymu.store.keys import new_signing_key, public_key
from raymu.store.receipts import ReceiptRow, check_receipts, latest_by_request, sign_receipts
from tests.support.stored_records import receipts

KEY, OTHER_KEY = new_signing_key(), new_signing_key()
many_receipts = st.lists(receipts, min_size=1, max_size=4)


def issue(some: list[Receipt], *, key: bytes = KEY) -> list[ReceiptRow]:
    return list(sign_receipts(some, after=None, run="run", event=7, signing_key=key))


def check(rows: list[ReceiptRow], *, run: str = "run") -> list[tuple[int, Receipt]]:
    return list(check_receipts(rows, run=run, public_key=public_key(KEY)))


@given(first=many_receipts, then=many_receipts)
def test_receipts_of_two_purges_are_read_back_in_order(first: list[Receipt], then: list[Receipt]) -> None:
    rows = issue(first)
    rows += sign_receipts(then, after=rows[-1], run="run", event=9, signing_key=KEY)
    assert check(rows) == [*((7, receipt) for receipt in first), *((9, receipt) for receipt in then)]
    documents = latest_by_request(rows)
    assert {request_id: document["ledger"]["number"] for request_id, document in documents.items()} == {
        row.request_id: row.number for row in rows
    }


def without_the_first(rows: list[ReceiptRow]) -> list[ReceiptRow]:
    return rows[1:]


def swapped(rows: list[ReceiptRow]) -> list[ReceiptRow]:
    return rows[::-1]


def of_another_signer(rows: list[ReceiptRow]) -> list[ReceiptRow]:
    return issue([receipt for _, receipt in check(rows)], key=OTHER_KEY)


def made_exact(rows: list[ReceiptRow]) -> list[ReceiptRow]:
    tree = json.loads(rows[0].document) | {"exactness": "exact", "samples": -1}
    return [replace(rows[0], document=canonical_json(tree).decode()), *rows[1:]]


def given_to_another_request(rows: list[ReceiptRow]) -> list[ReceiptRow]:
    return [replace(rows[0], request_id="another"), *rows[1:]]


def of_no_json(rows: list[ReceiptRow]) -> list[ReceiptRow]:
    return [replace(rows[0], document="[]"), *rows[1:]]


@pytest.mark.parametrize(
    "tamper",
    [without_the_first, swapped, of_another_signer, made_exact, given_to_another_request, of_no_json],
)
@given(some=st.lists(receipts, min_size=2, max_size=4))
def test_tampered_receipts_are_refused(
    tamper: Callable[[list[ReceiptRow]], list[ReceiptRow]], some: list[Receipt]
) -> None:
    with pytest.raises(FileCorrupt, match="receipt "):
        check(tamper(issue(some)))


@given(some=many_receipts)
def test_receipts_of_another_run_are_refused(some: list[Receipt]) -> None:
    with pytest.raises(FileCorrupt, match="missing or in another order"):
        check(issue(some), run="another")
