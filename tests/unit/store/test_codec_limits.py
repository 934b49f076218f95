"""JSON that is read back has limits, and whatever is wrong with it is damage of a file."""

import json

import pytest

from raymu.core.receipt import Receipt
from raymu.errors import FileCorrupt
from raymu.store.codec import MAX_JSON_DEPTH, from_json, parse_json, unseal


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 10_000,
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1),
        b"9" * 5000,
        b'{"seal": "\\ud800"}',
        b'{"\\udc00": 1, "seal": ""}',
        b'{"seal": "\xc3\xa9"}',
        b"\xff",
        b"",
        b"7",
        b'{"seal": null}',
        b'{"seal": [1]}',
    ],
    ids=lambda payload: str(payload[:16]),
)
def test_a_record_that_cannot_be_one_is_a_damaged_file(payload: bytes) -> None:
    with pytest.raises(FileCorrupt, match="the file: "):
        unseal(Receipt, payload, b"key", source="the file")
    with pytest.raises(FileCorrupt, match="the file: "):
        from_json(Receipt, payload, source="the file")


def test_text_in_json_may_hold_brackets_and_escapes() -> None:
    tree = {"text": "[" * 200 + '"\\é\x01' + "{" * 200, "lists": [[]] * 300}
    assert parse_json(json.dumps(tree), source="x") == tree
    assert parse_json(json.dumps(tree, ensure_ascii=False).encode(), source="x") == tree
    assert parse_json("[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH, source="x")
